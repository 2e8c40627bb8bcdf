// A policy's tests: written beside it, run on what is in the editor, with the coverage handed on.
import { AdminApiError, type PolicyCoverage, type PolicyTestReport } from "@caracalai/admin";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../api.ts";
import Editor from "../editor/editor.tsx";
import { Badge, Card, Cli, Empty, Problem } from "../ui.tsx";

const first = `package caracal.authz_test

import data.caracal.authz

test_denies_an_empty_request if {
	authz.result.decision == "deny" with input as {}
}
`;

interface PolicyTestsProps {
  content: string;
  tests: string;
  onChange: (tests: string) => void;
  onCoverage: (coverage: PolicyCoverage | null) => void;
}

export function PolicyTests({ content, tests, onChange, onCoverage }: PolicyTestsProps) {
  const run = useMutation({
    mutationFn: () => api.policies.test({ content, tests }),
    onSuccess: (report) => onCoverage(report.coverage),
    onError: () => onCoverage(null),
  });
  // The editor stays while somebody writes, be it that all was deleted.
  const [begun, begin] = useState(false);
  const write = (text: string) => { begin(true); onChange(text); };
  if (tests === "" && !begun) {
    return (
      <Card title="Tests">
        <Empty title="No tests yet" action={<button type="button" onClick={() => write(first)}>Write tests</button>}>
          Tests are rules whose names begin with <code>test_</code>. They are kept beside each version, and never go into a bundle.
        </Empty>
      </Card>
    );
  }
  const places = run.error instanceof AdminApiError ? run.error.errors : [];
  return (
    <Card title="Tests" aside={run.data && <Score report={run.data} />}>
      <div className="split">
        <Editor label="Tests" language="rego" value={tests} onChange={write} />
        <div aria-live="polite">
          <div className="row"><button type="button" className="primary" disabled={run.isPending} onClick={() => run.mutate()}>Run tests</button>
            {run.data && <span className="muted">{Math.round(run.data.coverage.percent)} % of the policy evaluated; see its margin</span>}</div>
          {places.length > 0 ? places.map((e, i) => <div key={i} className="problem">{e.file ?? "policy_test.rego"}, line {e.location.row}: {e.message}</div>) : <Problem error={run.error} />}
          {run.data?.results.length === 0 && <p className="note warn">There is no rule whose name begins with test_.</p>}
          <ul className="results">
            {run.data?.results.map((r) => (
              <li key={`${r.package}.${r.name}`}>
                <Badge tone={r.outcome === "pass" ? "good" : r.outcome === "skip" ? "plain" : "bad"}>{r.outcome}</Badge> <code>{r.name}</code> <span className="muted">line {r.location.row}</span>
                {r.message && <div>{r.message}</div>}
                {r.failed && <div>Line {r.failed.location.row} did not hold: <code>{r.failed.text}</code></div>}
                {r.output && <pre className="json" tabIndex={0} aria-label={`Output of ${r.name}`}>{r.output}</pre>}
              </li>
            ))}
          </ul>
        </div>
      </div>
      <Cli command="caracal policy test policy.rego policy_test.rego --coverage" />
    </Card>
  );
}

function Score({ report }: { report: PolicyTestReport }) {
  const bad = report.failed + report.errored;
  return <Badge tone={bad > 0 || report.results.length === 0 ? "bad" : "good"}>{bad > 0 ? `${bad} of ${report.results.length} did not pass` : `${report.passed} passed`}</Badge>;
}
