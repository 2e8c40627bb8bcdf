// One policy set: composing a version, its versions with their checklists, and two of them compared.
import type { PolicySetVersion } from "@caracalai/admin";
import { useMutation, useQueries, useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, useState } from "react";
import { Link, useLocation, useSearchParams } from "wouter";
import { api } from "../api.ts";
import { isSimulated } from "../simulated.ts";
import { Hashes } from "./hashes.tsx";
import { Ago, Badge, Card, Cli, Empty, Hash, Loading, Modal, onceKey, Page, Problem, Table, word } from "../ui.tsx";
import { useActivations, useActive, usePolicies, useSetVersion, useSetVersions, useZone } from "../zone.ts";

const Diff = lazy(() => import("../editor/diff.tsx"));

export default function SetPage({ id }: { id: string }) {
  const zone = useZone();
  const [search, setSearch] = useSearchParams();
  const set = useQuery({ queryKey: ["set", zone, id], queryFn: ({ signal }) => api.policySets.get(zone, id, { signal }) });
  const versions = useSetVersions(id);
  const [, go] = useLocation();
  const queries = useQueryClient();
  const archive = useMutation({
    mutationFn: () => api.policySets.delete(zone, id),
    onSuccess: async () => { await Promise.all(["sets", "active", "activations"].map((k) => queries.invalidateQueries({ queryKey: [k, zone] }))); go(`/z/${zone}/sets`); },
  });
  const active = useActive();
  const history = useActivations();
  const [hashed, setHashed] = useState<PolicySetVersion>();
  const [archiving, setArchiving] = useState(false);
  const governs = !!active.data && active.data.policy_set_id === id;
  if (!set.data) return <Page title="Policy set">{set.error ? <Problem error={set.error} retry={() => void set.refetch()} /> : <Loading what="the policy set" />}</Page>;
  const from = search.get("from"), to = search.get("to");
  // When each version governed last: the one before in the list is what came after it.
  const governed = new Map<string, { since: string; until: string | undefined }>();
  history.data?.forEach((a, i) => { if (a.version_id && governed.size < looked && !governed.has(a.version_id)) governed.set(a.version_id, { since: a.created_at, until: history.data[i - 1]?.created_at }); });
  return (
    <Page title={set.data.name} intro={set.data.description} actions={<>{governs && <Badge tone="good">governs the zone</Badge>}
      {versions.data?.[0] && <Link className="primary" href={`/z/${zone}/simulate?set=${id}&version=${versions.data[0].id}`}>Simulate the newest</Link>}<button className="danger" onClick={() => setArchiving(true)}>Archive</button></>}>
      <Compose set={id} name={set.data.name} newest={versions.data?.[0]} />
      <Card title="Versions">
        <Problem error={versions.error} retry={() => void versions.refetch()} />
        {versions.data?.length === 0 && <Empty title="No version yet">Pick policies above. The versions you make are listed here, each with its hashes and how far it has come.</Empty>}
        {versions.data && versions.data.length > 0 && (
          <Table label="Versions" head={["Version", "Checklist", "Made", "Hashes", "Next"]}>
            {versions.data.map((v, i) => {
              const before = versions.data[i + 1];
              return (
                <tr key={v.id}><td><span className="name">{v.version}</span><div><Hash value={v.id} what="version id" /></div></td>
                  <td className="wrap"><Checklist version={v} active={active.data?.policy_set_version_id === v.id} governed={governed.get(v.id)} /></td>
                  <td><Ago at={v.created_at} /><div className="muted small">by {v.created_by}</div></td>
                  <td><div><span className="muted small">Manifest</span> <Hash value={v.manifest_sha256} what="manifest hash" /></div><div><span className="muted small">Bundle</span> <Hash value={v.bundle_sha256} what="bundle hash" /></div></td>
                  <td><div className="row next"><Link href={`/z/${zone}/simulate?set=${id}&version=${v.id}`}>Simulate</Link><Link href={`/z/${zone}/activate?set=${id}&version=${v.id}`}>Activate</Link>
                    {before && <button onClick={() => setSearch({ from: before.id, to: v.id })}>Compare with {before.version}</button>}<button onClick={() => setHashed(v)}>Check hashes</button></div></td></tr>
              );
            })}
          </Table>
        )}
        <Cli command={`caracal policy-set versions ${word(set.data.name)}`} />
      </Card>
      <Modal open={!!hashed} onClose={() => setHashed(undefined)} title={`Hashes of version ${hashed?.version ?? ""}`}>{hashed && <Hashes version={hashed} />}<div className="row"><button onClick={() => setHashed(undefined)}>Close</button></div></Modal>
      <Modal open={archiving} onClose={() => setArchiving(false)} title={`Archive ${set.data.name}?`}>
        <p>{governs ? "It governs the zone: from then on the zone denies everything, until another version is activated." : "Its versions stay in the history and in the audit; none of them can be activated any more."}</p>
        <Problem error={archive.error} /><Cli command={`caracal policy-set delete ${word(set.data.name)}`} />
        <div className="row"><button className="danger" disabled={archive.isPending} onClick={() => archive.mutate()}>Archive</button><button onClick={() => setArchiving(false)}>Keep</button></div>
      </Modal>
      {from && to && <Compared set={id} from={from} to={to} versions={versions.data ?? []} pick={(f, t) => setSearch({ from: f, to: t })} close={() => setSearch({})} />}
    </Page>
  );
}

/** The most versions whose decisions are looked for in the audit: those that governed last. */
const looked = 20;

/** How far a version has come: valid, simulated here, active, and seen in the audit. */
function Checklist({ version, active, governed }: { version: PolicySetVersion; active: boolean; governed: { since: string; until: string | undefined } | undefined }) {
  const zone = useZone();
  const audited = useQuery({
    queryKey: ["audited", zone, version.id, governed?.since], enabled: !!governed, staleTime: active ? 0 : Infinity, refetchInterval: (q) => (q.state.data || !active ? false : 2_000),
    queryFn: async ({ signal }) => (await api.audit.page(zone, { limit: 100, event_type: "decision", ...governed }, { signal })).items.some((e) => e.policy_set_version_id === version.id),
  });
  const steps: [string, boolean, string][] = [
    ["valid", true, "It compiles as a whole, and is signed"], ["simulated", isSimulated(version.id), "An input was tried on it in this browser"],
    [governed && !active ? "was active" : "active", active || !!governed, "It governs the zone, or did"], ["first exchange audited", audited.data === true, "A decision that it made is in the audit"],
  ];
  return <ul className="check">{steps.map(([name, done, what]) => <li key={name} title={what} className={done ? "done" : "muted"}>{done ? "✓" : "○"} {name}<span className="unseen">{done ? ", done" : ", not yet"}</span></li>)}</ul>;
}

function Compose({ set, name, newest }: { set: string; name: string; newest: PolicySetVersion | undefined }) {
  const zone = useZone();
  const queries = useQueryClient();
  const policies = usePolicies();
  const last = useSetVersion(set, newest?.id);
  const [chosen, setChosen] = useState<Record<string, string>>();
  // A policy's older versions are read once somebody reaches for its list.
  const [opened, setOpened] = useState<Record<string, true>>({});
  const details = useQueries({ queries: (policies.data ?? []).map((p) => ({ queryKey: ["policy", zone, p.id], enabled: !!opened[p.id], queryFn: () => api.policies.get(zone, p.id) })) });
  // To begin with, the policies of the newest version, each in its newest version.
  const picks = chosen ?? Object.fromEntries((policies.data ?? []).filter((p) => last.data?.policies?.some((m) => m.policy_id === p.id)).map((p) => [p.id, p.version_id]));
  const manifest = (policies.data ?? []).flatMap((p) => picks[p.id] ?? []);
  const compose = useMutation({
    mutationFn: () => api.policySets.addVersion(zone, set, manifest.map((policy_version_id) => ({ policy_version_id })), { idempotencyKey: onceKey() }),
    onSuccess: async () => { setChosen(undefined); await Promise.all([queries.invalidateQueries({ queryKey: ["set-versions", zone, set] }), queries.invalidateQueries({ queryKey: ["sets", zone] })]); },
  });
  return (
    <Card title="Compose a version">
      {policies.data?.length === 0 && <Empty title="There are no policies to compose" action={<Link className="primary" href={`/z/${zone}/policies/new`}>New policy</Link>}>A set version is a list of policy versions. Write a policy first.</Empty>}
      {policies.data && policies.data.length > 0 && (
        <Table label="Policies to compose" head={["Policy", "Version"]}>
          {policies.data.map((p, i) => (
            <tr key={p.id}>
              <td><label><input type="checkbox" checked={!!picks[p.id]} onChange={(e) => { const { [p.id]: _, ...rest } = picks; setChosen(e.target.checked ? { ...rest, [p.id]: p.version_id } : rest); }} /> {p.name}</label></td>
              <td><select aria-label={`Version of ${p.name}`} onFocus={() => setOpened({ ...opened, [p.id]: true })} onPointerEnter={() => setOpened({ ...opened, [p.id]: true })} disabled={!picks[p.id]} value={picks[p.id] ?? p.version_id} onChange={(e) => setChosen({ ...picks, [p.id]: e.target.value })}>
                {(details[i]?.data?.versions ?? [p.version]).map((v) => <option key={v.id} value={v.id}>{v.version}{v.id === p.version_id ? " (newest)" : ""}</option>)}
              </select></td>
            </tr>
          ))}
        </Table>
      )}
      <Problem error={compose.error} />
      <div role="status">{compose.data && <div className="note">Version {compose.data.version} is made and signed. <Link href={`/z/${zone}/simulate?set=${set}&version=${compose.data.id}`}>Simulate it</Link>
        {compose.data.warnings?.map((w, i) => <p key={i}>{w.policy}: {w.message}</p>)}</div>}</div>
      <div className="row"><button className="primary" disabled={manifest.length === 0 || compose.isPending} onClick={() => compose.mutate()}>Make version {(newest?.version ?? 0) + 1}</button><span className="muted">{manifest.length} of up to 256 policies</span></div>
      <Cli command={`caracal policy-set add-version ${word(name)} ${manifest.join(" ") || "POLICY..."}`} />
    </Card>
  );
}

function Compared({ set, from, to, versions, pick, close }: { set: string; from: string; to: string; versions: PolicySetVersion[]; pick: (from: string, to: string) => void; close: () => void }) {
  const a = useSetVersion(set, from), b = useSetVersion(set, to);
  const choice = (label: string, value: string, change: (id: string) => void) => (
    <select aria-label={label} value={value} onChange={(e) => change(e.target.value)}>{versions.map((v) => <option key={v.id} value={v.id}>version {v.version}</option>)}</select>
  );
  const ids = new Set([...(a.data?.policies ?? []), ...(b.data?.policies ?? [])].map((p) => p.policy_id));
  return (
    <Card title="Compare" aside={<div className="row">{choice("Compare from", from, (id) => pick(id, to))}{choice("Compare to", to, (id) => pick(from, id))}<button onClick={close}>Close</button></div>}>
      <Problem error={a.error ?? b.error} />
      {[...ids].map((policy) => {
        const before = a.data?.policies?.find((p) => p.policy_id === policy), after = b.data?.policies?.find((p) => p.policy_id === policy);
        const same = before?.policy_version_id === after?.policy_version_id;
        return (
          <section key={policy}><h3>{(after ?? before)?.name} {same ? <Badge tone="plain">unchanged, version {after?.version}</Badge> : !before ? <Badge tone="good">added</Badge> : !after ? <Badge tone="bad">removed</Badge> : <Badge tone="warn">{`version ${before.version} → ${after.version}`}</Badge>}</h3>
            {!same && <Lines policy={policy} from={before?.policy_version_id} to={after?.policy_version_id} />}</section>
        );
      })}
    </Card>
  );
}

function Lines({ policy, from, to }: { policy: string; from: string | undefined; to: string | undefined }) {
  const zone = useZone();
  const [a, b] = useQueries({ queries: [from, to].map((version) => ({ queryKey: ["policy-version", zone, policy, version], enabled: !!version, staleTime: Infinity, queryFn: () => api.policies.getVersion(zone, policy, version ?? "") })) });
  if ((from && !a?.data) || (to && !b?.data)) return <Loading what="the lines" />;
  return <Diff before={a?.data?.content ?? ""} after={b?.data?.content ?? ""} labels={["Before", "After"]} />;
}
