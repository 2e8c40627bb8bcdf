// Two texts side by side, with what differs marked.
import { MergeView } from "@codemirror/merge";
import { EditorState } from "@codemirror/state";
import { EditorView, lineNumbers } from "@codemirror/view";
import { useEffect, useRef } from "react";
import { rego } from "./rego.ts";
import { look } from "./styles.ts";

export default function Diff({ before, after, labels }: { before: string; after: string; labels: [string, string] }) {
  const host = useRef<HTMLDivElement>(null);
  const [left, right] = labels;
  useEffect(() => {
    if (!host.current) return;
    const side = (doc: string, label: string) => ({
      doc, extensions: [look, rego, lineNumbers(), EditorState.readOnly.of(true), EditorView.lineWrapping, EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0" })],
    });
    const made = new MergeView({ parent: host.current, a: side(before, left), b: side(after, right), collapseUnchanged: { margin: 4, minSize: 8 } });
    return () => made.destroy();
  }, [before, after, left, right]);
  return <div className="editor diff" ref={host} />;
}
