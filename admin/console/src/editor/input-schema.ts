// Checks an input against the input's schema while it is written, at the value that is wrong.
import { Validator } from "@cfworker/json-schema";
import { syntaxTree } from "@codemirror/language";
import { type Diagnostic, linter } from "@codemirror/lint";
import type { EditorState, Extension } from "@codemirror/state";
import type { SyntaxNode } from "@lezer/common";

/** Marks values that do not fit a JSON Schema; text that is no JSON is left to another linter. */
export function schemaLinter(schema: unknown): Extension {
  const validator = new Validator(schema as ConstructorParameters<typeof Validator>[0], "2020-12", false);
  return linter((view): Diagnostic[] => {
    let value: unknown;
    try { value = JSON.parse(view.state.doc.toString()); } catch { return []; }
    const { errors } = validator.validate(value);
    // An error is told again for everything that it is in: the innermost ones say what is wrong.
    return errors
      .filter((e) => !errors.some((other) => other !== e && other.instanceLocation.startsWith(`${e.instanceLocation}/`)))
      .slice(-20)
      .map((e): Diagnostic => ({ ...place(view.state, e.instanceLocation), severity: "error", message: `${e.instanceLocation.replace(/^#/, "") || "The input"}: ${e.error}` }));
  }, { delay: 350 });
}

/** Where the value that a JSON pointer names is, or the innermost one around it that is there. */
function place(state: EditorState, pointer: string): { from: number; to: number } {
  let node: SyntaxNode | null = syntaxTree(state).topNode.firstChild;
  for (const step of pointer.split("/").slice(1)) {
    const inner: SyntaxNode | null = node && child(state, node, decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~"));
    if (!inner) break;
    node = inner;
  }
  if (!node) return { from: 0, to: 0 };
  return { from: node.from, to: node.name === "Object" || node.name === "Array" ? node.from + 1 : node.to };
}

function child(state: EditorState, node: SyntaxNode, step: string): SyntaxNode | null {
  if (node.name === "Array") {
    const values = node.getChildren("Value");
    return values[Number(step)] ?? null;
  }
  for (const property of node.getChildren("Property")) {
    const name = property.getChild("PropertyName");
    if (name && JSON.parse(state.sliceDoc(name.from, name.to)) === step) return property.lastChild;
  }
  return null;
}
