// What the editor and the comparison look like: colours of the page's own theme.
import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { EditorView } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? "";

export const look = [
  EditorView.cspNonce.of(nonce),
  EditorView.theme({
    "&": { color: "var(--ink)" },
    ".cm-gutters": { backgroundColor: "var(--code)", color: "var(--soft)", borderRight: "1px solid var(--line)" },
    ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "color-mix(in srgb, var(--accent) 9%, transparent)" },
    "&.cm-focused .cm-cursor": { borderLeftColor: "var(--ink)" },
    ".cm-tooltip": { backgroundColor: "var(--card)", color: "var(--ink)", border: "1px solid var(--line)" },
    ".cm-panels": { backgroundColor: "var(--code)", color: "var(--ink)" },
  }),
  syntaxHighlighting(HighlightStyle.define([
    { tag: tags.keyword, color: "light-dark(#8a1f6a, #e79ad0)" },
    { tag: [tags.string, tags.special(tags.string)], color: "light-dark(#17653a, #8bdcae)" },
    { tag: [tags.number, tags.atom, tags.bool, tags.null], color: "light-dark(#0b5c8a, #86c8f0)" },
    { tag: tags.comment, color: "var(--soft)", fontStyle: "italic" },
    { tag: tags.special(tags.variableName), color: "var(--accent)", fontWeight: "600" },
    { tag: tags.function(tags.variableName), color: "light-dark(#4a3ea8, #b3aaff)" },
    { tag: tags.propertyName, color: "light-dark(#4a3ea8, #b3aaff)" },
  ])),
];
