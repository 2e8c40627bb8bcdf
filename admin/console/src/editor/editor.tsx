// The editor of Rego and JSON.
import { autocompletion, closeBrackets, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { json, jsonParseLinter } from "@codemirror/lang-json";
import { bracketMatching, foldGutter, indentOnInput } from "@codemirror/language";
import { type Diagnostic, linter, lintGutter, lintKeymap } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { useEffect, useRef } from "react";
import type { PolicyCoverage } from "@caracalai/admin";
import { coverageMargin, setCoverage } from "./coverage.ts";
import { schemaLinter } from "./input-schema.ts";
import { completion, pathsOf, rego } from "./rego.ts";
import { look } from "./styles.ts";

/** One thing to mark: row and column from 1; a row of 0 is the whole. */
export interface Mark { row: number; col: number; message: string; severity: "error" | "warning" }

export interface EditorProps {
  label: string;
  value: string;
  onChange?: (value: string) => void;
  language: "rego" | "json";
  /** Asked after a pause in typing; its marks are shown at their lines. */
  check?: (text: string) => Promise<Mark[]>;
  /** JSON Schema of the input: Rego is completed from it, and JSON is checked against it. */
  schema?: unknown;
  /** What tests evaluated of the text, shown in the margin. */
  coverage?: PolicyCoverage | null | undefined;
}

export default function Editor({ label, value, onChange, language, check, schema, coverage }: EditorProps) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(null);
  const latest = useRef({ onChange, check });
  latest.current = { onChange, check };
  const readOnly = !onChange;
  useEffect(() => {
    if (!host.current) return;
    const lint = async (v: EditorView): Promise<Diagnostic[]> => {
      const marks = (await latest.current.check?.(v.state.doc.toString())) ?? [];
      return marks.map((m) => {
        const line = v.state.doc.line(Math.min(Math.max(m.row, 1), v.state.doc.lines));
        const from = Math.min(line.from + Math.max(m.col - 1, 0), line.to);
        return { from: from === line.to ? line.from : from, to: line.to, message: m.message, severity: m.severity };
      });
    };
    const made = new EditorView({
      parent: host.current,
      state: EditorState.create({
        doc: value,
        extensions: [
          look, lineNumbers(), foldGutter(), history(), drawSelection(), indentOnInput(), bracketMatching(), closeBrackets(),
          highlightActiveLine(), highlightActiveLineGutter(), highlightSelectionMatches(), lintGutter(), coverageMargin,
          EditorState.readOnly.of(readOnly), EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0" }),
          // Tab indents; Escape and then Tab leaves the editor, as CodeMirror has it.
          keymap.of([...defaultKeymap, ...historyKeymap, ...searchKeymap, ...completionKeymap, ...lintKeymap, indentWithTab]),
          language === "rego" ? [rego, autocompletion({ override: [completion(pathsOf(schema))] }), linter(lint, { delay: 350 })] : [json(), readOnly ? [] : linter(jsonParseLinter()), schema ? schemaLinter(schema) : []],
          EditorView.updateListener.of((u) => { if (u.docChanged) latest.current.onChange?.(u.state.doc.toString()); }),
        ],
      }),
    });
    view.current = made;
    return () => { view.current = null; made.destroy(); };
    // The text is taken up below; anything else makes a new editor.
  }, [label, language, readOnly, schema]);
  useEffect(() => {
    const v = view.current;
    if (v && v.state.doc.toString() !== value) v.dispatch({ changes: { from: 0, to: v.state.doc.length, insert: value } });
  }, [value]);
  useEffect(() => view.current?.dispatch({ effects: setCoverage.of(coverage ?? null) }), [coverage]);
  return <div className="editor" ref={host} />;
}
