// What governs the zone, what its daemons do, and what changed lately.
import type { Activation } from "@caracalai/admin";
import { useQuery } from "@tanstack/react-query";
import { lazy, useMemo } from "react";
import { Link, useSearchParams } from "wouter";
import { api } from "../api.ts";
import { Ago, Badge, Card, Cli, Decision, Empty, Hash, Page, Problem, Table } from "../ui.tsx";
import { useActivations, useActive, useDaemons, usePolicies, useSets, useSetVersion, useSetVersions, useZone, vitalsOf } from "../zone.ts";

const Chart = lazy(() => import("../chart.tsx"));

/** How far the chart goes back, and how long each of its points is, in seconds. */
const spans = { "1h": { name: "hour", seconds: 3_600, step: 60 }, "6h": { name: "6 hours", seconds: 21_600, step: 300 }, "24h": { name: "day", seconds: 86_400, step: 900 } } as const;

function seconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  return value < 0.001 ? `${Math.round(value * 1e6)} µs` : value < 1 ? `${(value * 1e3).toFixed(value < 0.01 ? 1 : 0)} ms` : `${value.toFixed(1)} s`;
}

function rate(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString() : value >= 1 ? value.toFixed(1) : value.toFixed(2);
}

export default function Overview() {
  const zone = useZone();
  const [search, setSearch] = useSearchParams();
  const chosen = search.get("span") ?? "1h";
  const span = spans[chosen in spans ? (chosen as keyof typeof spans) : "1h"];
  const active = useActive();
  const sets = useSets();
  const policies = usePolicies();
  const daemons = useDaemons();
  const version = useSetVersion(active.data?.policy_set_id, active.data?.policy_set_version_id);
  const siblings = useSetVersions(active.data?.policy_set_id);
  const history = useActivations();
  const counts = useQuery({
    queryKey: ["summary", zone, span.seconds], refetchInterval: 5_000,
    queryFn: ({ signal }) => api.audit.summary(zone, { step_seconds: span.step, since: new Date(Date.now() - span.seconds * 1_000).toISOString() }, { signal }),
  });
  const newest = useQuery({ queryKey: ["newest", zone], refetchInterval: 5_000, queryFn: ({ signal }) => api.audit.page(zone, { limit: 8, event_type: "decision" }, { signal }) });
  const series = useMemo(() => {
    const first = Date.parse(counts.data?.since ?? "") / 1_000 || 0;
    const times = counts.data ? Array.from({ length: Math.ceil((Date.parse(counts.data.until) / 1_000 - first) / span.step) }, (_, i) => first + i * span.step) : [];
    const allow = times.map(() => 0), deny = times.map(() => 0);
    for (const p of counts.data?.points ?? []) {
      const i = Math.round((Date.parse(p.at) / 1_000 - first) / span.step);
      if (i < times.length) { allow[i] = p.allowed / span.step; deny[i] = p.denied / span.step; }
    }
    return { times, allow, deny };
  }, [counts.data, span.step]);
  const setName = (id: string | null | undefined) => sets.data?.find((s) => s.id === id)?.name ?? "an archived set";
  const lines = useMemo(() => (history.data ?? []).filter((a) => a.sequence > 0).map((a) => ({
    at: Date.parse(a.created_at) / 1_000,
    label: a.version_id ? `${setName(a.policy_set_id)}${siblings.data?.some((v) => v.id === a.version_id) ? ` ${siblings.data.find((v) => v.id === a.version_id)?.version}` : ""}` : "nothing",
  })), [history.data, sets.data, siblings.data]);
  const allowed = counts.data?.allowed ?? 0, denied = counts.data?.denied ?? 0, total = allowed + denied;
  const share = total > 0 ? Math.round((100 * denied) / total) : 0;
  const last = counts.data?.points.at(-1);
  const now = last && counts.data && Date.parse(counts.data.until) - Date.parse(last.at) < 2_000 * span.step ? (last.allowed + last.denied) / span.step : 0;
  const behind = daemons.data?.filter((d) => d.zones.find((z) => z.zone_id === zone)?.sequence !== active.data?.sequence).length ?? 0;
  const steps: [string, string, string, boolean][] = [
    ["Write a policy", "Rego, checked while you write; begin with a template.", "/policies/new", (policies.data?.length ?? 0) > 0],
    ["Compose a policy set", "Pick policy versions; they are signed as one bundle.", "/sets", (sets.data?.length ?? 0) > 0],
    ["Simulate it", "Try inputs on it, with nobody governed by it.", "/simulate", false],
    ["Activate it", "From then on daemons decide by it.", "/activate", false],
  ];
  return (
    <Page title="Overview" actions={<Link className="button" href="/zones">All zones</Link>}>
      <Problem error={active.error ?? counts.error} retry={() => void Promise.all([active.refetch(), counts.refetch()])} />
      {active.data && !active.data.policy_set_version_id && (
        <div className="empty"><h2>Nothing is active: this zone denies everything</h2><p>Four steps lead to a zone that decides. Nobody is governed before the last one.</p>
          <ol className="steps">{steps.map(([step, why, path, done], i) => <li key={step} className={done ? "done" : ""}><Link href={`/z/${zone}${path}`}>{done ? "✓" : `${i + 1}.`} {step}<small>{why}</small></Link></li>)}</ol></div>
      )}
      <div className="grid">
        <Card title="Active version" aside={active.data?.policy_set_version_id ? <Badge tone="good">governs the zone</Badge> : <Badge tone="warn">none</Badge>}>
          {active.data?.policy_set_version_id ? <>
            <p className="figure"><Link href={`/z/${zone}/sets/${active.data.policy_set_id}`}>{setName(active.data.policy_set_id)}</Link> <small>version {version.data?.version ?? "…"}</small></p>
            <dl className="facts"><dt>Since</dt><dd><Ago at={active.data.since} /> by {active.data.activated_by}</dd><dt>Reason</dt><dd>{active.data.reason || <span className="muted">none given</span>}</dd>
              <dt>Manifest</dt><dd><Hash value={active.data.manifest_sha256} what="manifest hash" /></dd><dt>Bundle</dt><dd><Hash value={active.data.bundle_sha256} what="bundle hash" /></dd></dl></> : <p className="muted">Daemons answer deny to everything that is asked of this zone.</p>}
          <Cli command="caracal policy-set active" />
        </Card>
        <Card title={`Decisions of the last ${span.name}`}>
          <p className="figure">{total.toLocaleString()} <small>{rate(now)} a second now</small></p>
          <div className="bar" aria-hidden="true"><i className="good" style={{ flexGrow: allowed }} /><i className="bad" style={{ flexGrow: denied }} /></div>
          <p>{total > 0 ? <><strong>{share} %</strong> denied: <span className="number">{denied.toLocaleString()} of {total.toLocaleString()}</span>{counts.data && counts.data.failed > 0 && <>, {counts.data.failed.toLocaleString()} because the evaluation failed</>}</> : <span className="muted">None yet.</span>}</p>
          <p><Link href={`/z/${zone}/audit`}>Audit</Link> · <Link href={`/z/${zone}/audit?decision=deny`}>Denials</Link></p>
          <Cli command={`caracal audit summary --since ${chosen in spans ? chosen : "1h"}`} />
        </Card>
        <Card title="Daemons" aside={daemons.data && daemons.data.length > 0 && (behind > 0 ? <Badge tone="warn">{behind} behind</Badge> : <Badge tone="good">all have the active version</Badge>)}>
          <p className="figure">{daemons.data?.length ?? "…"} <small>{daemons.data?.length === 1 ? "decides" : "decide"} for this zone</small></p>
          {daemons.data && <div className="bar" aria-hidden="true"><i className="good" style={{ flexGrow: daemons.data.length - behind }} /><i className="warn" style={{ flexGrow: behind }} /></div>}
          <p>{daemons.data?.length === 0 ? "None has reported yet. Make a token with the role daemon, and start caracald with it." : "Each reports every few seconds what it has loaded."}</p>
          <p><Link href={`/z/${zone}/fleet`}>Fleet</Link></p>
          <Cli command="caracal daemon list" />
        </Card>
      </div>
      <Card title="Decisions a second" aside={<span className="row"><span className="muted small">A line is an activation</span>
        <span className="choice" role="group" aria-label="How far back">{Object.entries(spans).map(([key, s]) => <button key={key} aria-pressed={s === span} onClick={() => setSearch(key === "1h" ? {} : { span: key }, { replace: true })}>{key}</button>)}</span></span>}>
        <Chart {...series} activations={lines} summary={`${total} decisions in the last ${span.name}, ${denied} of them denied`} />
      </Card>
      {daemons.data && daemons.data.length > 0 && (
        <Card title="Daemon by daemon">
          <Table label="Daemons, what they decide and how far they are" head={["Daemon", "Loaded", "Behind by", "Decisions", "Denied", "Latency p50", "p99", "In the audit after", "Last seen"]}>
            {daemons.data.slice(0, 50).map((d) => {
              const z = d.zones.find((one) => one.zone_id === zone), lag = (active.data?.sequence ?? 0) - (z?.sequence ?? 0);
              const n = counts.data?.daemons.find((one) => one.daemon_id === d.id), vitals = vitalsOf(d);
              return (
                <tr key={d.id}><td className="name">{d.name}</td>
                  <td>{z?.state === "failed" ? <Badge tone="bad">failed</Badge> : <Badge tone={lag > 0 ? "warn" : "good"}>{z ? (siblings.data?.some((v) => v.id === z.policy_set_version_id) ? `version ${siblings.data.find((v) => v.id === z.policy_set_version_id)?.version}` : z.policy_set_version_id ? "another set" : "nothing") : "none"}</Badge>}</td>
                  <td>{lag > 0 ? `${lag} ${lag === 1 ? "activation" : "activations"}` : <span className="muted">nothing</span>}</td>
                  <td className="number">{((n?.allowed ?? 0) + (n?.denied ?? 0)).toLocaleString()}{vitals && <span className="muted"> · {rate(vitals.decisions_per_second)}/s</span>}</td>
                  <td className="number">{n && n.allowed + n.denied > 0 ? `${Math.round((100 * n.denied) / (n.allowed + n.denied))} %` : "–"}</td>
                  <td className="number">{seconds(vitals?.latency_p50_seconds)}</td><td className="number">{seconds(vitals?.latency_p99_seconds)}</td>
                  <td className="number">{n ? seconds(n.shipped_after_ms / 1_000) : "–"}</td><td><Ago at={d.last_seen_at} /></td></tr>
              );
            })}
          </Table>
        </Card>
      )}
      <div className="halves">
        <Card title="Changed lately">
          <ul className="list">{history.data?.slice(0, 8).map((a) => <li key={a.id}><span>{told(a, setName(a.policy_set_id))}{a.reason && a.sequence > 0 && <span className="muted">, {a.reason}</span>}</span><Ago at={a.created_at} /></li>)}</ul>
          {history.data?.length === 0 && <p className="muted">Nothing was ever activated.</p>}
          <Cli command="caracal policy-set history" />
        </Card>
        <Card title="Newest decisions">
          {newest.data?.items.length === 0 ? <Empty title="None yet">As soon as an STS asks a daemon, what was decided shows up here by itself.</Empty> :
            <ul className="list">{newest.data?.items.map((e) => <li key={e.id}><Decision value={e.decision} /> <Link href={`/z/${zone}/audit/${encodeURIComponent(e.request_id)}`}>{e.request_id}</Link> <Ago at={e.occurred_at} /></li>)}</ul>}
          <Cli command="caracal audit list --type decision --limit 8" />
        </Card>
      </div>
    </Page>
  );
}

/** An activation in words. */
function told(a: Activation, set: string): string {
  if (a.sequence === 0) return `${a.actor_name} created the zone`;
  return a.version_id ? `${a.actor_name} activated ${set}` : `${a.actor_name} left nothing active`;
}
