// Rego for the editor: highlighting, and completion of keywords, built-ins and
// the input's fields.
import type { CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import { StreamLanguage } from "@codemirror/language";

const keywords = new Set(["package", "import", "default", "if", "contains", "in", "every", "some", "not", "as", "with", "else"]);
const constants = new Set(["true", "false", "null"]);

export const rego = StreamLanguage.define<{ raw: boolean }>({
  name: "rego",
  startState: () => ({ raw: false }),
  token(stream, state) {
    if (state.raw) {
      state.raw = !stream.skipTo("`");
      if (state.raw) stream.skipToEnd(); else stream.next();
      return "string";
    }
    if (stream.eatSpace()) return null;
    if (stream.match(/^#.*/)) return "comment";
    if (stream.match(/^"(?:[^"\\]|\\.)*"?/)) return "string";
    if (stream.eat("`")) { state.raw = true; return "string"; }
    if (stream.match(/^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/)) return "number";
    const name = stream.match(/^[A-Za-z_]\w*/) as RegExpMatchArray | null;
    if (name) {
      const text = name[0];
      if (keywords.has(text)) return "keyword";
      if (constants.has(text)) return "atom";
      if (text === "input" || text === "data") return "variableName.special";
      return stream.peek() === "(" ? "variableName.function" : "variableName";
    }
    if (stream.match(/^(?::=|==|!=|<=|>=|[<>=+\-*/%&|])/)) return "operator";
    stream.next();
    return null;
  },
  languageData: { commentTokens: { line: "#" }, closeBrackets: { brackets: ["(", "[", "{", '"', "`"] } },
});

const builtins = ["count", "sum", "max", "min", "startswith", "endswith", "contains", "lower", "upper", "split", "concat", "sprintf", "trim", "object.get", "array.concat", "regex.match", "glob.match", "json.unmarshal", "to_number", "is_string", "is_array", "time.parse_rfc3339_ns", "net.cidr_contains", "intersection", "union"];

interface Schema { properties?: Record<string, Schema>; type?: string | string[]; description?: string; anyOf?: Schema[]; oneOf?: Schema[] }

/** The paths of a JSON Schema's fields, below `input`. */
export function pathsOf(schema: unknown, prefix = "input", depth = 0): { label: string; detail: string }[] {
  const s = schema as Schema | undefined;
  if (!s || depth > 6) return [];
  const below = [...(s.anyOf ?? []), ...(s.oneOf ?? [])].flatMap((one) => pathsOf(one, prefix, depth + 1));
  return below.concat(Object.entries(s.properties ?? {}).flatMap(([name, field]) => {
    const label = `${prefix}.${name}`;
    return [{ label, detail: ([] as string[]).concat(field.type ?? []).join(" | ") }, ...pathsOf(field, label, depth + 1)];
  }));
}

/** Completes what is typed from the input's fields, keywords and built-ins. */
export function completion(fields: { label: string; detail: string }[]) {
  const options = [
    ...fields.map((f) => ({ ...f, type: "property" })),
    ...[...keywords, ...constants].map((label) => ({ label, type: "keyword" })),
    ...builtins.map((label) => ({ label, type: "function" })),
  ];
  return (context: CompletionContext): CompletionResult | null => {
    const word = context.matchBefore(/[\w.]+/);
    if (!word && !context.explicit) return null;
    const own = new Set([...context.state.doc.toString().matchAll(/^(?:default )?([A-Za-z_]\w*)/gm)].map(([, name = ""]) => name).filter((name) => !keywords.has(name)));
    return { from: word?.from ?? context.pos, options: [...options, ...[...own].map((label) => ({ label, type: "variable", detail: "of this policy" }))], validFor: /^[\w.]*$/ };
  };
}
