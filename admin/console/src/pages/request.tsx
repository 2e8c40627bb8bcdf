// One request: what was decided, why, on which input; and the way to fixing a denial.
import { stringifyExactly } from "@caracalai/admin";
import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { api } from "../api.ts";
import { Ago, Badge, Card, Cli, Copy, Decision, Hash, Json, Loading, Page, Problem, word } from "../ui.tsx";
import { useSets, useZone } from "../zone.ts";
import { policiesOf } from "./audit.tsx";

export default function Request({ id }: { id: string }) {
  const zone = useZone();
  const sets = useSets();
  const trace = useQuery({ queryKey: ["explain", zone, id], queryFn: ({ signal }) => api.audit.explain(zone, id, { signal }) });
  const decided = [...(trace.data?.denied ?? []).map((d) => ({ ...d, how: "denied" })), ...(trace.data?.allowed ?? []).map((d) => ({ ...d, how: "allowed" }))];
  const denied = trace.data?.denied ?? [];
  const last = trace.data?.events.at(-1);
  const fix = `/z/${zone}/simulate?${new URLSearchParams({ request: id, ...(last && sets.data?.some((s) => s.id === last.policy_set_id) ? { set: last.policy_set_id } : {}) }).toString()}`;
  return (
    <Page title={`Request ${id}`} actions={<>{denied.length > 0 ? <Link className="primary" href={fix}>Fix this denial</Link> : decided.length > 0 && <Link className="button" href={fix}>Simulate this input</Link>}<Link className="button" href={`/z/${zone}/audit`}>All events</Link></>}>
      {trace.isPending && <Loading what="the request" />}
      <Problem error={trace.error} retry={() => void trace.refetch()} />
      {trace.data && <div className="card versus"><span>Finally <Decision value={trace.data.final_decision} /></span>{last && <span className="muted small"><Ago at={last.occurred_at} /> · {new Date(last.occurred_at).toLocaleString()}</span>}</div>}
      {decided.map((d) => (
        <Card key={d.event_id} title={`Why it was ${d.how}`} aside={<Badge tone="plain">{d.evaluation_status}</Badge>}>
          <dl className="facts"><dt>Determined by</dt><dd>{policiesOf(d.determining_policies) || (d.how === "denied" ? "no policy: nothing allowed it" : "no policy is named")}</dd></dl>
          <h3>Diagnostics</h3><Json value={d.diagnostics} label="Diagnostics" />
          {(d.metadata as { replayable?: boolean } | null)?.replayable === false && <div className="note warn">A policy read a masked value, so that simulating this input may give another decision.</div>}
          <div className="card-head"><h3>The input, as it was evaluated</h3><Copy what="input" text={stringifyExactly(d.policy_input, 2)} /></div>
          <pre className="json" tabIndex={0} aria-label="Input">{stringifyExactly(d.policy_input, 2)}</pre>
        </Card>
      ))}
      {trace.data && <Card title="Events, oldest first">
        {trace.data.events.map((e) => (
          <dl className="facts" key={e.id}>
            <dt>{new Date(e.occurred_at).toLocaleString()}</dt><dd>{e.event_type} <Decision value={e.decision} /> {policiesOf(e.determining_policies_json)}</dd>
            <dt>Set version</dt><dd>{e.policy_set_id && <Link href={`/z/${zone}/sets/${e.policy_set_id}`}>{sets.data?.find((s) => s.id === e.policy_set_id)?.name ?? "archived set"}</Link>} <Hash value={e.policy_set_version_id} what="version id" /></dd>
            <dt>Manifest</dt><dd><Hash value={e.manifest_sha} what="manifest hash" /></dd><dt>Bundle</dt><dd><Hash value={e.bundle_sha256} what="bundle hash" /></dd>
          </dl>
        ))}
      </Card>}
      <Cli command={`caracal audit explain ${word(id)}`} />
    </Page>
  );
}
