// The margin that shows what tests evaluated: a bar beside each line of a policy.
import { type EditorState, RangeSet, StateEffect, StateField } from "@codemirror/state";
import { gutter, GutterMarker } from "@codemirror/view";
import type { PolicyCoverage } from "@caracalai/admin";

class Bar extends GutterMarker {
  constructor(private readonly kind: "covered" | "missed") { super(); }
  override eq(other: GutterMarker) { return other instanceof Bar && other.kind === this.kind; }
  override toDOM() {
    const bar = document.createElement("div");
    bar.className = `coverage ${this.kind}`;
    bar.title = this.kind === "covered" ? "evaluated by the tests" : "not evaluated by any test";
    return bar;
  }
}

const covered = new Bar("covered"), missed = new Bar("missed");

/** Shows a coverage, or none. */
export const setCoverage = StateEffect.define<PolicyCoverage | null>();

function bars(state: EditorState, coverage: PolicyCoverage | null): RangeSet<GutterMarker> {
  if (!coverage) return RangeSet.empty;
  const lines = new Map<number, Bar>();
  // Places may lie in others: a line that anything missed begins on counts as missed.
  for (const { start, end } of coverage.covered) for (let row = start.row; row <= end.row; row++) lines.set(row, covered);
  for (const { start } of coverage.not_covered) lines.set(start.row, missed);
  const inside = [...lines].filter(([row]) => row >= 1 && row <= state.doc.lines).sort(([a], [b]) => a - b);
  return RangeSet.of(inside.map(([row, bar]) => bar.range(state.doc.line(row).from)));
}

const field = StateField.define<RangeSet<GutterMarker>>({
  create: () => RangeSet.empty,
  update(value, tr) {
    for (const e of tr.effects) if (e.is(setCoverage)) return bars(tr.state, e.value);
    return tr.docChanged ? value.map(tr.changes) : value;
  },
});

/** The margin; empty until setCoverage fills it. */
export const coverageMargin = [field, gutter({ class: "cm-coverage", markers: (view) => view.state.field(field) })];
