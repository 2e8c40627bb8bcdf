// The policy editor: live validation at the right line, and what the policy reads and decides.
import { AdminApiError, type PolicyCoverage, type Validation } from "@caracalai/admin";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../api.ts";
import { Badge, Card } from "../ui.tsx";
import Editor, { type Mark } from "./editor.tsx";

export function RegoEditor({ label, value, onChange, coverage }: { label: string; value: string; onChange: (value: string) => void; coverage?: PolicyCoverage | null }) {
  const schema = useQuery({ queryKey: ["input-schema"], staleTime: Infinity, queryFn: ({ signal }) => api.policies.inputSchema({ signal }) });
  const [found, setFound] = useState<{ good?: Validation; marks: Mark[] }>();
  const check = async (text: string): Promise<Mark[]> => {
    try {
      const good = await api.policies.validate(text);
      const marks = good.warnings.map((w): Mark => ({ row: w.location?.row ?? 1, col: w.location?.col ?? 1, message: `${w.code}: ${w.message}`, severity: w.blocking ? "error" : "warning" }));
      setFound({ good, marks });
      return marks;
    } catch (error) {
      if (!(error instanceof AdminApiError)) return [];
      const marks = error.errors.length > 0
        ? error.errors.map((e): Mark => ({ row: e.location.row, col: e.location.col, message: e.message, severity: "error" }))
        : [{ row: 1, col: 1, message: error.description, severity: "error" } satisfies Mark];
      setFound({ marks });
      return marks;
    }
  };
  return (
    <div className="split">
      {schema.isPending ? <p className="muted">Reading the schema…</p> : <Editor label={label} value={value} onChange={onChange} language="rego" check={check} schema={schema.data} coverage={coverage} />}
      <Card title="What it does" aside={found && (found.good ? <Badge tone="good">valid</Badge> : <Badge tone="bad">not valid</Badge>)}>
        <div aria-live="polite">
          {!found && <p className="muted">It is checked while you write.</p>}
          {found?.marks.map((m, i) => <div key={i} className={m.severity === "error" ? "problem" : "note warn"}>Line {m.row}: {m.message}</div>)}
        </div>
        {found?.good && (
          <dl className="facts">
            <dt>Package</dt><dd><code>{found.good.preview.package}</code></dd>
            <dt>Rules</dt><dd>{found.good.preview.rules.map((r) => <code key={r}>{r} </code>)}</dd>
            <dt>Decides</dt><dd>{found.good.preview.decisions.join(", ") || "nothing by itself"}</dd>
            <dt>Reads</dt><dd>{found.good.preview.inputs_referenced.length === 0 ? "nothing of the input" : found.good.preview.inputs_referenced.map((r) => <div key={r}><code>{r}</code></div>)}</dd>
          </dl>
        )}
        <p className="muted small">Tab indents; Escape, then Tab, leaves the editor. Ctrl-Space completes fields of the input.</p>
      </Card>
    </div>
  );
}
