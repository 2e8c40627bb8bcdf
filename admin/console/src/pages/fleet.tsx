// The daemons: how each is, why, and what it has loaded. Filters and the place in the list are in the address.
import type { Daemon } from "@caracalai/admin";
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { useSearchParams } from "wouter";
import { api } from "../api.ts";
import { Ago, Badge, Card, Cli, Copy, Empty, Field, Hash, Loading, Modal, Page, Problem, Table, word } from "../ui.tsx";
import { useZone } from "../zone.ts";

/** Daemons on one page. */
const shown = 50;

const states = ["healthy", "lagging", "failing", "unreachable", "retired"] as const;
type State = (typeof states)[number];
const tones = { healthy: "good", lagging: "warn", failing: "bad", unreachable: "bad", retired: "plain" } as const;
const isState = (text: string | null): text is State => states.some((s) => s === text);

export default function Fleet() {
  const zone = useZone();
  const [search, setSearch] = useSearchParams();
  const wanted = search.get("state");
  const state = isState(wanted) ? wanted : undefined;
  const q = search.get("q") ?? "", labels = search.getAll("label"), after = search.get("after");
  // A retired daemon reports for no zone.
  const within = state === "retired" ? null : zone;
  const counts = useQuery({ queryKey: ["fleet", zone, q, labels], queryFn: ({ signal }) => api.daemons.fleet(zone, { q, label: labels }, { signal }), refetchInterval: 5_000, placeholderData: keepPreviousData });
  const daemons = useQuery({
    queryKey: ["daemons", zone, "page", state, q, labels, after], refetchInterval: 5_000, placeholderData: keepPreviousData,
    queryFn: ({ signal }) => api.daemons.page(within, { state, q, label: labels, limit: shown, cursor: after }, { signal }),
  });
  const go = (change: (to: URLSearchParams) => void) => setSearch((was) => { change(was); was.delete("after"); return was; });
  const set = (name: string, value: string) => go((to) => { if (value) to.set(name, value); else to.delete(name); });
  const filtered = !!state || q !== "" || labels.length > 0;
  const flags = [state && `--state ${state}`, ...labels.map((l) => `--label ${word(l)}`), q && `--search ${word(q)}`].filter(Boolean).join(" ");
  const rows = daemons.data?.items ?? [];
  return (
    <Page title="Fleet" intro="Daemons decide beside the STS. Each reports what it has loaded and how it is, every few seconds.">
      <div className="filters">
        <div className="row" role="group" aria-label="State">
          {states.map((s) => (
            <button key={s} type="button" aria-pressed={state === s} className={state === s ? "primary" : ""} onClick={() => set("state", state === s ? "" : s)}>
              <Badge tone={s !== "retired" && counts.data?.states[s] === 0 ? "plain" : tones[s]}>{s === "retired" ? s : `${counts.data?.states[s] ?? "…"} ${s}`}</Badge>
            </button>
          ))}
        </div>
        <form onSubmit={(e) => { e.preventDefault(); set("q", String(new FormData(e.currentTarget).get("q") ?? "").trim()); }}>
          <Field label="Name, id or version">{(p) => <input {...p} key={q} name="q" type="search" maxLength={256} defaultValue={q} />}</Field>
        </form>
        <form onSubmit={(e) => {
          e.preventDefault();
          const label = String(new FormData(e.currentTarget).get("label") ?? "").trim();
          if (!labels.includes(label)) go((to) => to.append("label", label));
          e.currentTarget.reset();
        }}>
          <Field label="Label">{(p) => <input {...p} name="label" placeholder="name=value" required pattern="[^=]+=.*" title="name=value" />}</Field>
        </form>
        {labels.map((l) => <button key={l} type="button" onClick={() => go((to) => to.delete("label", l))}>{l} <span aria-hidden="true">×</span><span className="unseen">, remove this filter</span></button>)}
        {filtered && <button type="button" onClick={() => setSearch({})}>Clear filters</button>}
      </div>
      <Problem error={daemons.error ?? counts.error} retry={() => { void daemons.refetch(); void counts.refetch(); }} />
      {daemons.isPending && <Loading what="daemons" />}
      {daemons.data && rows.length === 0 && (filtered || after
        ? <Empty title="No daemon matches">Widen the filters.</Empty>
        : <Empty title="No daemon has reported">Make a token with the role daemon on the page Tokens, and start caracald with it and the trust root.</Empty>)}
      {rows.length > 0 && (
        <Table label="Daemons" head={["Daemon", "State", "In this zone", "Decisions", "Audit spool", "Software", "Last seen"]}>
          {rows.map((d) => <Row key={d.id} daemon={d} zone={zone} open={() => setSearch((was) => { was.set("daemon", d.id); return was; })} />)}
        </Table>
      )}
      <div className="row">
        {after && <button type="button" onClick={() => go(() => undefined)}>First page</button>}
        {daemons.data?.next_cursor && <button type="button" onClick={() => setSearch((was) => { was.set("after", daemons.data.next_cursor ?? ""); return was; })}>Next {shown}</button>}
      </div>
      <Cli command={`caracal daemon list ${flags}`.trim()} />
      <Card title="Versions of the software">
        {counts.data && counts.data.versions.length > 0 ? (
          <ul>{counts.data.versions.map((v) => <li key={v.version}><button type="button" onClick={() => set("q", v.version)}>{v.version || "unnamed"}</button> {v.daemons} of {counts.data.daemons}</li>)}</ul>
        ) : <p className="muted">None yet.</p>}
        <Cli command="caracal daemon status" />
      </Card>
      <Details id={search.get("daemon")} zone={zone} close={() => setSearch((was) => { was.delete("daemon"); return was; })} />
    </Page>
  );
}

/** What a daemon says of the last seconds. */
const rate = (d: Daemon) => (d.status ? `${d.status.decisions_per_second.toFixed(1)} a second` : "");
const time = (seconds: number | null | undefined) => (seconds == null ? "none" : seconds < 0.001 ? `${Math.round(seconds * 1e6)} µs` : `${(seconds * 1000).toFixed(1)} ms`);
const size = (bytes: number) => (bytes < 1 << 20 ? `${Math.round(bytes / 1024)} KiB` : `${Math.round(bytes / (1 << 20))} MiB`);

function StateOf({ daemon }: { daemon: Daemon }) {
  const state = isState(daemon.state) ? daemon.state : "retired";
  return <><Badge tone={tones[state]}>{daemon.state}</Badge>{daemon.reason && <div className="small">{daemon.reason}</div>}{daemon.since && <div className="muted small">since <Ago at={daemon.since} /></div>}</>;
}

function Row({ daemon: d, zone, open }: { daemon: Daemon; zone: string; open: () => void }) {
  const z = d.zones.find((one) => one.zone_id === zone);
  return (
    <tr>
      <td><button type="button" onClick={open}>{d.name || d.id}</button><div className="muted small">{labelsOf(d)}</div></td>
      <td className="wrap"><StateOf daemon={d} /></td>
      <td>{z ? <>sequence {z.sequence}{z.behind > 0 && <>, <Badge tone="warn">{z.behind} behind</Badge></>}<div><Hash value={z.policy_set_version_id} what="version id" /></div></> : <span className="muted">nothing</span>}</td>
      <td>{rate(d)}{d.status?.latency_p99_seconds != null && <div className="muted small">p99 {time(d.status.latency_p99_seconds)}</div>}</td>
      <td>{d.status && `${d.status.spool_records} records`}{d.status && d.status.audit_gaps > 0 && <div><Badge tone="bad">{d.status.audit_gaps} lost</Badge></div>}</td>
      <td>{d.version}</td><td><Ago at={d.last_seen_at} /></td>
    </tr>
  );
}

const labelsOf = (d: Daemon) => Object.entries(d.labels).map(([k, v]) => `${k}=${v}`).join(" ");

/** One daemon with all of its zones, and the way to retire it. */
function Details({ id, zone, close }: { id: string | null; zone: string; close: () => void }) {
  const queries = useQueryClient();
  const [sure, ask] = useState(false);
  const daemon = useQuery({ queryKey: ["daemon", id], enabled: !!id, queryFn: ({ signal }) => api.daemons.get(id ?? "", { signal }), refetchInterval: 5_000 });
  const end = () => { ask(false); close(); };
  const retire = useMutation({
    mutationFn: (one: string) => api.daemons.retire(one),
    onSuccess: () => { end(); return Promise.all([["fleet", zone], ["daemons", zone]].map((queryKey) => queries.invalidateQueries({ queryKey }))); },
  });
  const d = daemon.data;
  const fact = (name: string, value: ReactNode) => <><dt>{name}</dt><dd>{value}</dd></>;
  return (
    <Modal open={!!id} onClose={end} title={d?.name || id || ""}>
      <Problem error={daemon.error ?? retire.error} />
      {daemon.isPending && <Loading what="the daemon" />}
      {d && <>
        <dl className="facts">
          {fact("State", <StateOf daemon={d} />)}
          {fact("Id", <Copy text={d.id} what="daemon id"><code>{d.id}</code></Copy>)}
          {fact("Labels", labelsOf(d) || "none")}
          {fact("Software", d.version || "unnamed")}
          {fact("First seen", <Ago at={d.first_seen_at} />)}
          {fact("Last seen", <Ago at={d.last_seen_at} />)}
          {fact("Reported by", d.reported_by ? <Hash value={d.reported_by} what="token id" /> : "nobody yet")}
          {d.status && <>
            {fact("Started", <Ago at={d.status.started_at} />)}
            {fact("Ready", d.status.ready ? "yes" : "no")}
            {fact("Audit", d.status.audit_kept ? "kept" : <Badge tone="bad">not kept</Badge>)}
            {fact("Decisions", rate(d))}
            {fact("Latency", `p50 ${time(d.status.latency_p50_seconds)}, p99 ${time(d.status.latency_p99_seconds)}`)}
            {fact("Cache hits", d.status.cache_hit_share === null ? "none looked up" : `${(100 * d.status.cache_hit_share).toFixed(0)} %`)}
            {fact("Audit spool", `${d.status.spool_records} records, ${size(d.status.spool_bytes)} of ${size(d.status.spool_max_bytes)}`)}
            {fact("Audit lost", `${d.status.audit_gaps} records since the start`)}
          </>}
        </dl>
        {d.zones.length > 0 && (
          <Table label="Zones" head={["Zone", "State", "Sequence", "Version", "Loaded"]}>
            {d.zones.map((z) => (
              <tr key={z.zone_id}><td><Hash value={z.zone_id} what="zone id" /></td><td className="wrap">{z.state === "failed" ? <Badge tone="bad">failed</Badge> : z.behind > 0 ? <Badge tone="warn">behind</Badge> : <Badge tone="good">loaded</Badge>}{z.detail && <div className="small">{z.detail}</div>}</td>
                <td>{z.sequence} of {z.wanted_sequence}</td><td><Hash value={z.policy_set_version_id} what="version id" /></td><td><Ago at={z.loaded_at} /></td></tr>
            ))}
          </Table>
        )}
        <Cli command={`caracal daemon get ${d.id}`} />
        {sure && <><p>Activations wait for it no more, and lists leave it out. The next token to report under this id has it. If it still runs, it is back with its next report.</p><Cli command={`caracal daemon retire ${d.id}`} /></>}
        <div className="row">
          {d.state !== "retired" && <button type="button" className="danger" disabled={retire.isPending} onClick={() => { if (sure) retire.mutate(d.id); else ask(true); }}>{sure ? "Retire now" : "Retire…"}</button>}
          <button type="button" onClick={end}>Close</button>
        </div>
      </>}
    </Modal>
  );
}
