// What governs the zone, what its daemons do, and what changed lately.
import { useQuery } from "@tanstack/react-query";
import { lazy, useMemo } from "react";
import { Link } from "wouter";
import { api } from "../api.ts";
import { Ago, Badge, Card, Cli, Decision, Empty, Hash, Page, Problem } from "../ui.tsx";
import { useActive, useDaemons, usePolicies, useSets, useSetVersion, useZone } from "../zone.ts";

const Chart = lazy(() => import("../chart.tsx"));

/** How far the chart goes back, in minutes; each is one point. */
const minutes = 60;
/** The most events that the chart counts. */
const counted = 1000;

export default function Overview() {
  const zone = useZone();
  const active = useActive();
  const sets = useSets();
  const policies = usePolicies();
  const daemons = useDaemons();
  const version = useSetVersion(active.data?.policy_set_id, active.data?.policy_set_version_id);
  const history = useQuery({ queryKey: ["activations", zone], queryFn: ({ signal }) => api.zones.pageActivations(zone, { limit: 50 }, { signal }), refetchInterval: 5_000 });
  const events = useQuery({
    queryKey: ["lately", zone], refetchInterval: 5_000,
    queryFn: ({ signal }) => api.audit.list(zone, { limit: counted, event_type: "decision", since: new Date(Date.now() - minutes * 60_000).toISOString() }, { signal }),
  });
  const lately = useMemo(() => {
    const end = Math.floor(Date.now() / 60_000);
    const times = Array.from({ length: minutes }, (_, i) => (end - minutes + 1 + i) * 60);
    const allow = times.map(() => 0), deny = times.map(() => 0);
    for (const e of events.data ?? []) {
      const at = Math.floor(Date.parse(e.occurred_at) / 60_000) - (end - minutes + 1);
      const into = e.decision === "allow" ? allow : deny;
      if (at >= 0 && at < minutes) into[at] = (into[at] ?? 0) + 1;
    }
    return { times, allow, deny };
  }, [events.data]);
  const denied = events.data?.filter((e) => e.decision === "deny").length ?? 0, total = events.data?.length ?? 0;
  const name = sets.data?.find((s) => s.id === active.data?.policy_set_id)?.name;
  const behind = daemons.data?.filter((d) => d.zones.find((z) => z.zone_id === zone)?.sequence !== active.data?.sequence).length ?? 0;
  const steps: [string, string, boolean][] = [["Write a policy", "/policies/new", (policies.data?.length ?? 0) > 0], ["Compose a policy set", "/sets", (sets.data?.length ?? 0) > 0], ["Simulate it", "/simulate", false], ["Activate it", "/activate", !!active.data?.policy_set_version_id]];
  return (
    <Page title="Overview">
      <Problem error={active.error ?? events.error} retry={() => void active.refetch()} />
      {active.data && !active.data.policy_set_version_id && (
        <Empty title="Nothing is active: this zone denies everything"><span className="row">{steps.map(([step, path, done], i) => <Link key={step} href={`/z/${zone}${path}`}>{done ? "✓" : `${i + 1}.`} {step}</Link>)}</span></Empty>
      )}
      <div className="grid">
        <Card title="Active version">
          {active.data?.policy_set_version_id ? <>
            <p className="figure"><Link href={`/z/${zone}/sets/${active.data.policy_set_id}`}>{name ?? "…"}</Link> {version.data?.version}</p>
            <dl className="facts"><dt>Since</dt><dd><Ago at={active.data.since} /></dd><dt>By</dt><dd>{active.data.activated_by}</dd><dt>Reason</dt><dd>{active.data.reason || "none given"}</dd><dt>Sequence</dt><dd>{active.data.sequence}</dd>
              <dt>Manifest</dt><dd><Hash value={active.data.manifest_sha256} what="manifest hash" /></dd><dt>Bundle</dt><dd><Hash value={active.data.bundle_sha256} what="bundle hash" /></dd></dl></> : <p className="muted">None.</p>}
          <Cli command="caracal policy-set active" />
        </Card>
        <Card title="Decisions of the last hour">
          <p className="figure">{total}{total === counted && " or more"}</p><p>{total > 0 ? `${Math.round((100 * denied) / total)} % denied` : "None yet."} · {(total / (minutes * 60)).toFixed(2)} a second</p>
          <Link href={`/z/${zone}/audit`}>Audit</Link> · <Link href={`/z/${zone}/audit?decision=deny`}>Denials</Link>
        </Card>
        <Card title="Daemons">
          <p className="figure">{daemons.data?.length ?? "…"}</p><p>{behind > 0 ? <Badge tone="warn">{behind} behind</Badge> : <Badge tone="good">all have the active version</Badge>}</p>
          <ul>{daemons.data?.slice(0, 6).map((d) => <li key={d.id}>{d.name}: sequence {d.zones.find((z) => z.zone_id === zone)?.sequence ?? "none"}, seen <Ago at={d.last_seen_at} /></li>)}</ul><Link href={`/z/${zone}/fleet`}>Fleet</Link>
        </Card>
      </div>
      <Card title="Decisions a minute" aside={<span className="muted small">A line is an activation</span>}>
        <Chart {...lately} activations={history.data?.items.map((a) => Date.parse(a.created_at) / 1000) ?? []} summary={`${total} decisions in the last hour, ${denied} of them denied`} />
      </Card>
      <div className="grid">
        <Card title="Changed lately"><ul>{history.data?.items.slice(0, 6).map((a) => <li key={a.id}><Ago at={a.created_at} />: {a.actor_name} {a.version_id ? `activated ${sets.data?.find((s) => s.id === a.policy_set_id)?.name ?? "an archived set"}` : "left nothing active"}{a.reason && `: ${a.reason}`}</li>)}</ul>{history.data?.items.length === 0 && <p className="muted">Nothing was ever activated.</p>}</Card>
        <Card title="Newest decisions"><ul>{events.data?.slice(0, 6).map((e) => <li key={e.id}><Decision value={e.decision} /> <Link href={`/z/${zone}/audit/${encodeURIComponent(e.request_id)}`}>{e.request_id}</Link> <Ago at={e.occurred_at} /></li>)}</ul>{total === 0 && <p className="muted">None in the last hour.</p>}</Card>
      </div>
    </Page>
  );
}
