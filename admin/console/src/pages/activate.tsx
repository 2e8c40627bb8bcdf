// Activating a version: what changes, the confirmation, and how it reaches each daemon. And rolling back.
import type { PolicySetVersion } from "@caracalai/admin";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useSearchParams } from "wouter";
import { api } from "../api.ts";
import { Ago, Badge, Card, Cli, Decision, Empty, Field, Hash, Loading, Modal, onceKey, Page, Problem, Table, word } from "../ui.tsx";
import { useActivations, useActive, useDaemons, useSets, useSetVersion, useSetVersions, useZone } from "../zone.ts";

export default function Activate() {
  const zone = useZone();
  const queries = useQueryClient();
  const [search, setSearch] = useSearchParams();
  const sets = useSets();
  const active = useActive();
  const set = search.get("set") ?? active.data?.policy_set_id ?? sets.data?.[0]?.id ?? "";
  const versions = useSetVersions(set);
  const version = search.get("version") ?? versions.data?.[0]?.id ?? "";
  const wanted = useSetVersion(set, version);
  const governing = useSetVersion(active.data?.policy_set_id, active.data?.policy_set_version_id);
  const history = useActivations();
  const name = sets.data?.find((s) => s.id === set)?.name ?? "";
  const [typed, setTyped] = useState("");
  const [reason, setReason] = useState("");
  const [back, setBack] = useState<{ set: string; version: string; sequence: number }>();
  const activate = useMutation({
    mutationFn: (to: { set: string; version: string; reason: string }) => api.policySets.activate(zone, to.set, to.version, {
      expectedActiveVersionId: active.data?.policy_set_version_id ?? null, ...(to.reason ? { reason: to.reason } : {}), idempotencyKey: onceKey(),
    }),
    onSettled: () => { setTyped(""); setBack(undefined); return Promise.all(["active", "activations", "sets", "daemons"].map((k) => queries.invalidateQueries({ queryKey: [k, zone] }))); },
  });
  const nameOf = (id: string | null | undefined) => sets.data?.find((s) => s.id === id)?.name ?? id ?? "nothing";
  const already = !!version && active.data?.policy_set_version_id === version;
  if (sets.data?.length === 0) return <Page title="Activate"><Empty title="Nothing to activate yet" action={<Link className="primary" href={`/z/${zone}/sets`}>Policy sets</Link>}>Compose a set version first. Until one is active, this zone denies everything.</Empty></Page>;
  return (
    <Page title="Activate" intro="Activating moves the zone's signed pointer in one transaction; daemons load the version and swap it in whole.">
      <div className="filters">
        <Field label="Policy set">{(props) => <select {...props} value={set} onChange={(e) => setSearch({ set: e.target.value })}>{sets.data?.map((s) => <option key={s.id} value={s.id}>{s.name}</option>)}</select>}</Field>
        <Field label="Version">{(props) => <select {...props} value={version} onChange={(e) => setSearch({ set, version: e.target.value })}>{versions.data?.map((v) => <option key={v.id} value={v.id}>{v.version}{v.id === active.data?.policy_set_version_id ? " (active)" : ""}</option>)}</select>}</Field>
      </div>
      <div className="grid">
        <Card title="What changes">
          {wanted.data && <Changes before={governing.data} after={wanted.data} />}
          {already && <p className="note">This version governs the zone.</p>}
          {active.data?.policy_set_id === set && active.data.policy_set_version_id && !already && <Link href={`/z/${zone}/sets/${set}?from=${active.data.policy_set_version_id}&to=${version}`}>Compare line by line</Link>}
        </Card>
        <Card title="Confirm">
          <form onSubmit={(e) => { e.preventDefault(); activate.mutate({ set, version, reason }); }}>
            <Field label={`Type ${name} to confirm`}>{(props) => <input {...props} autoComplete="off" value={typed} onChange={(e) => setTyped(e.target.value)} />}</Field>
            <Field label="Reason" hint="For the history and the admin audit.">{(props) => <input {...props} value={reason} onChange={(e) => setReason(e.target.value)} />}</Field>
            <button className="primary" disabled={!version || !name || typed !== name || activate.isPending}>Activate version {wanted.data?.version}</button>
          </form>
          <Problem error={activate.error} />
          <Cli command={`caracal policy-set activate ${word(name || "SET")} ${version} --expect-active ${active.data?.policy_set_version_id ?? "none"}${reason ? ` --reason ${word(reason)}` : ""} --wait 30s`} />
        </Card>
      </div>
      {version && !already && <Recent set={set} version={version} name={name} />}
      <Propagation />
      <Card title="History">
        <Problem error={history.error} />
        {history.data?.length === 0 && <p className="muted">Nothing was ever activated in this zone.</p>}
        {history.data && history.data.length > 0 && (
          <Table label="Activations" head={["Sequence", "Policy set", "Version", "When", "By", "Reason", "Actions"]}>
            {history.data.slice(0, 100).map((a, i) => (
              <tr key={a.id}><td>{a.sequence}</td><td>{nameOf(a.policy_set_id)}</td><td>{versions.data?.find((v) => v.id === a.version_id)?.version} <Hash value={a.version_id} what="version id" /></td><td><Ago at={a.created_at} /></td><td>{a.actor_name}</td><td className="wrap">{a.reason}</td>
                <td>{i > 0 && a.policy_set_id && a.version_id && a.version_id !== active.data?.policy_set_version_id && <button onClick={() => setBack({ set: a.policy_set_id ?? "", version: a.version_id ?? "", sequence: a.sequence })}>Roll back</button>}</td></tr>
            ))}
          </Table>
        )}
        <Cli command="caracal policy-set history" />
      </Card>
      <Modal open={!!back} onClose={() => setBack(undefined)} title="Roll back?">
        {back && <>
          <p>{nameOf(back.set)} governs the zone again, as it did from activation {back.sequence}. The sequence goes on; nothing is rewritten.</p>
          <Cli command={`caracal policy-set rollback ${word(nameOf(back.set))} ${back.version}`} />
          <div className="row"><button className="primary" onClick={() => activate.mutate({ ...back, reason: `roll back to activation ${back.sequence}` })}>Roll back now</button><button onClick={() => setBack(undefined)}>Stay</button></div>
        </>}
      </Modal>
    </Page>
  );
}

function Changes({ before, after }: { before: PolicySetVersion | undefined; after: PolicySetVersion }) {
  const was = before?.policies ?? [], will = after.policies ?? [];
  const gone = was.filter((p) => !will.some((w) => w.policy_id === p.policy_id));
  return (
    <>
      {!before && <p>Nothing governs the zone now: everything is denied until this version is loaded.</p>}
      <ul>
        {will.map((p) => {
          const old = was.find((w) => w.policy_id === p.policy_id);
          return <li key={p.policy_id}>{p.name}: {!old ? <Badge tone="good">new, version {p.version}</Badge> : old.policy_version_id === p.policy_version_id ? <span className="muted">version {p.version}, unchanged</span> : <Badge tone="warn">{`version ${old.version} → ${p.version}`}</Badge>}</li>;
        })}
        {gone.map((p) => <li key={p.policy_id}>{p.name}: <Badge tone="bad">removed</Badge></li>)}
      </ul>
      <dl className="facts"><dt>Manifest</dt><dd><Hash value={after.manifest_sha256} what="manifest hash" /></dd><dt>Bundle</dt><dd><Hash value={after.bundle_sha256} what="bundle hash" /></dd></dl>
    </>
  );
}

/** What the version decides otherwise than what was decided lately. */
function Recent({ set, version, name }: { set: string; version: string; name: string }) {
  const zone = useZone();
  const replay = useQuery({ queryKey: ["replay", zone, set, version], staleTime: 30_000, retry: false, queryFn: ({ signal }) => api.policySets.replay(zone, set, version, { limit: 500, signal }) });
  const r = replay.data, opened = r?.flipped.filter((f) => f.now === "allow").length ?? 0;
  return (
    <Card title="On recent traffic" aside={r && r.replayed > 0 && (r.flipped.length > 0 ? <Badge tone="warn">{r.flipped.length} of {r.replayed} decisions flip</Badge> : <Badge tone="good">no decision flips</Badge>)}>
      {replay.isPending && <Loading what="the newest decisions, and deciding them again" />}
      <Problem error={replay.error} retry={() => void replay.refetch()} />
      {r && <p>{r.replayed === 0 ? "There is no decision yet that could be made again by this version."
        : <>The newest {r.replayed} decisions (the oldest from <Ago at={r.oldest} />) were made again by this version. {r.flipped.length === 0 ? "All come out as they did." : `${opened} ${opened === 1 ? "becomes" : "become"} allow, ${r.flipped.length - opened} ${r.flipped.length - opened === 1 ? "becomes" : "become"} deny.`}</>}
        {r.skipped > 0 && <span className="muted"> {r.skipped} more could not be: their inputs were not kept as they were, or do not fit the schema.</span>}</p>}
      {r && r.flipped.length > 0 && (
        <Table label="Decisions that flip" head={["Request", "Was", "Becomes", "Why", "When", "Look"]}>
          {r.flipped.slice(0, 20).map((f) => <tr key={f.event_id}><td><Link href={`/z/${zone}/audit/${encodeURIComponent(f.request_id)}`}>{f.request_id}</Link></td><td><Decision value={f.was} /></td><td><Decision value={f.now} /></td><td className="wrap">{f.reason}</td><td><Ago at={f.occurred_at} /></td>
            <td><Link href={`/z/${zone}/simulate?${new URLSearchParams({ request: f.request_id, set, version }).toString()}`}>Simulate</Link></td></tr>)}
        </Table>
      )}
      {r && r.flipped.length > 20 && <p className="muted small">{r.flipped.length - 20} more; the command lists all.</p>}
      <Cli command={`caracal policy-set replay ${word(name || "SET")} ${version} --limit 500`} />
    </Card>
  );
}

/** How far the governing version has come, daemon by daemon. */
function Propagation() {
  const zone = useZone();
  const active = useActive();
  const daemons = useDaemons();
  const set = active.data?.policy_set_id, version = active.data?.policy_set_version_id;
  const status = useQuery({
    queryKey: ["status", zone, set, version], enabled: !!set && !!version,
    queryFn: ({ signal }) => api.policySets.activationStatus(zone, set ?? "", version ?? "", undefined, { signal }),
    refetchInterval: (q) => (q.state.data?.propagation_status === "loaded" ? 5_000 : 500),
  });
  if (!set || !version) return null;
  const s = status.data;
  return (
    <Card title="Propagation" aside={s && <Badge tone={s.propagation_status === "loaded" ? "good" : s.propagation_status === "failed" ? "bad" : "warn"}>{s.propagation_status.replaceAll("_", " ")}</Badge>}>
      {s && s.daemons.total > 0 && <div className="bar" aria-hidden="true"><i className="good" style={{ flexGrow: s.daemons.loaded }} /><i className="bad" style={{ flexGrow: s.daemons.failed }} /><i style={{ flexGrow: Math.max(0, s.daemons.total - s.daemons.loaded - s.daemons.failed) }} /></div>}
      <p aria-live="polite">{s ? `${s.daemons.loaded} of ${s.daemons.total} daemons have loaded the governing version${s.daemons.failed ? `, ${s.daemons.failed} could not` : ""}. ${s.rollout.wanted} of ${s.rollout.reachable} that report are wanted (${+(100 * s.rollout.loaded_share).toFixed(2)} %).` : "Looking…"}</p>
      {s?.sts.detail && s.propagation_status !== "loaded" && <p className="muted">{s.sts.detail}</p>}
      <Problem error={status.error} />
      {s && s.rollout.failing_total + s.rollout.lagging_total + s.rollout.unreachable_total > 0 && (
        <Table label="Daemons that have not loaded it" head={["Daemon", "State", "Sequence", "Reason", "Since"]}>
          {([["failing", "bad", s.rollout.failing, s.rollout.failing_total], ["lagging", "warn", s.rollout.lagging, s.rollout.lagging_total], ["unreachable", "bad", s.rollout.unreachable, s.rollout.unreachable_total]] as const).flatMap(([state, tone, list, total]) => [
            ...list.map((d) => <tr key={d.id}><td>{d.name || d.id}</td><td><Badge tone={tone}>{state}</Badge></td><td>{d.sequence}</td><td className="wrap">{d.reason}</td><td><Ago at={d.since} /></td></tr>),
            ...(total > list.length ? [<tr key={state}><td colSpan={5}><Link href={`/z/${zone}/fleet?state=${state}`}>{total - list.length} more are {state}</Link></td></tr>] : []),
          ])}
        </Table>
      )}
      {daemons.data && daemons.data.length > 0 && (
        <Table label="Daemons" head={["Daemon", "State", "Sequence", "Loaded", "Last seen"]}>
          {daemons.data.map((d) => {
            const z = d.zones.find((one) => one.zone_id === zone);
            const here = z?.sequence === active.data?.sequence;
            return <tr key={d.id}><td>{d.name}</td><td>{z?.state === "failed" ? <Badge tone="bad">failed: {z.detail}</Badge> : here ? <Badge tone="good">loaded</Badge> : <Badge tone="warn">behind</Badge>}</td><td>{z?.sequence ?? "none"}</td><td><Ago at={z?.loaded_at} /></td><td><Ago at={d.last_seen_at} /></td></tr>;
          })}
        </Table>
      )}
    </Card>
  );
}
