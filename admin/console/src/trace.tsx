// How the rules of a version came to an answer: which held, and where the others failed.
import type { RuleTrace, RuleTraces } from "@caracalai/admin";
import { Badge } from "./ui.tsx";

export function Trace({ trace }: { trace: RuleTraces }) {
  return (
    <details className="trace" open>
      <summary>Rules, as they were tried</summary>
      {trace.differs && <div className="problem" role="alert">OPA's evaluator comes to another result than the engine. That is a defect: please report it with this input.</div>}
      {trace.incomplete && <div className="note warn">Rules may be missing: {trace.incomplete}</div>}
      <ol>{trace.rules.map((rule, i) => <Rule key={i} rule={rule} />)}</ol>
    </details>
  );
}

function Rule({ rule }: { rule: RuleTrace }) {
  return (
    <li style={{ marginInlineStart: `${Math.min(rule.depth, 6) * 1.2}rem` }}>
      <Badge tone={rule.held ? "good" : "plain"}>{rule.held ? "held" : "failed"}</Badge> <code>{rule.rule.replace("data.caracal.authz.", "")}</code>{rule.default && " (default)"}
      <span className="muted"> {rule.policy}, line {rule.location.row}{rule.tried > 1 && `, tried ${rule.tried} times`}</span>
      {rule.failed && <div>Line {rule.failed.location.row} did not hold: <code>{rule.failed.text}</code></div>}
      {rule.value !== undefined && <div className="muted">Gave <code>{short(rule.value)}</code></div>}
    </li>
  );
}

function short(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}
