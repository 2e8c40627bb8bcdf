// One policy: its newest content in the editor, its versions, and two of them side by side.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, useEffect, useState } from "react";
import { Link, useLocation, useSearchParams } from "wouter";
import type { PolicyCoverage } from "@caracalai/admin";
import { api } from "../api.ts";
import { RegoEditor } from "../editor/rego-editor.tsx";
import { Ago, Card, Cli, Hash, Loading, Modal, Page, Problem, Table, onceKey, word } from "../ui.tsx";
import { useZone } from "../zone.ts";
import { PolicyTests } from "./policy-tests.tsx";

const Diff = lazy(() => import("../editor/diff.tsx"));

function useContent(policy: string, version: string | null | undefined) {
  const zone = useZone();
  return useQuery({
    queryKey: ["policy-version", zone, policy, version], enabled: !!version, staleTime: Infinity,
    queryFn: ({ signal }) => api.policies.getVersion(zone, policy, version ?? "", { signal }),
  });
}

export default function PolicyPage({ id }: { id: string }) {
  const zone = useZone();
  const [, go] = useLocation();
  const queries = useQueryClient();
  const [search, setSearch] = useSearchParams();
  const policy = useQuery({ queryKey: ["policy", zone, id], queryFn: ({ signal }) => api.policies.get(zone, id, { signal }) });
  const newest = useContent(id, policy.data?.version_id);
  const [draft, setDraft] = useState<string>();
  const [draftTests, setDraftTests] = useState<string>();
  const [coverage, setCoverage] = useState<PolicyCoverage | null>(null);
  const [archiving, setArchiving] = useState(false);
  const [saved, setSaved] = useState("");
  const text = draft ?? newest.data?.content ?? "";
  const tests = draftTests ?? newest.data?.tests ?? "";
  const changed = text !== (newest.data?.content ?? "") || tests !== (newest.data?.tests ?? "");
  const before = useContent(id, search.get("from"));
  const after = useContent(id, search.get("to"));
  useEffect(() => {
    const warn = (e: BeforeUnloadEvent) => { if (changed) e.preventDefault(); };
    window.addEventListener("beforeunload", warn);
    return () => window.removeEventListener("beforeunload", warn);
  }, [changed]);
  const add = useMutation({
    mutationFn: () => api.policies.addVersion(zone, id, { content: text, ...(tests ? { tests } : {}) }, { idempotencyKey: onceKey() }),
    onSuccess: async (version) => {
      setSaved(`Version ${version.version} is made. It governs nobody until a set version that has it is activated.`);
      await Promise.all([queries.invalidateQueries({ queryKey: ["policy", zone, id] }), queries.invalidateQueries({ queryKey: ["policies", zone] })]);
      setDraft(undefined);
      setDraftTests(undefined);
    },
  });
  const archive = useMutation({
    mutationFn: () => api.policies.delete(zone, id),
    onSuccess: async () => { await queries.invalidateQueries({ queryKey: ["policies", zone] }); go(`/z/${zone}/policies`); },
  });
  if (!policy.data) return <Page title="Policy">{policy.error ? <Problem error={policy.error} retry={() => void policy.refetch()} /> : <Loading what="the policy" />}</Page>;
  const p = policy.data;
  const versions = p.versions ?? [];
  const pick = (from: string, to: string) => setSearch({ from, to }, { replace: false });
  const compared = before.data && after.data;
  return (
    <Page title={p.name} intro={p.description} actions={<>
      <Link className="primary" href={`/z/${zone}/sets`}>Compose a set</Link>
      <button className="danger" onClick={() => setArchiving(true)}>Archive</button></>}>
      <Card title={`Content, version ${p.version.version}`} aside={<Hash value={p.version.content_sha256} what="content hash" />}>
        {newest.data ? <RegoEditor label="Policy content" value={text} onChange={(value) => { setDraft(value); setCoverage(null); }} coverage={coverage} /> : <Loading what="the content" />}
        <Problem error={add.error} />
        <div role="status">{saved && !changed && <div className="note">{saved} <Link href={`/z/${zone}/sets`}>Compose a set version with it</Link></div>}</div>
        <div className="row">
          <button className="primary" disabled={!changed || add.isPending} onClick={() => add.mutate()}>Save as version {(versions[0]?.version ?? 0) + 1}</button>
          {changed && <button onClick={() => { setDraft(undefined); setDraftTests(undefined); setCoverage(null); }}>Discard changes</button>}
        </div>
        <Cli command={`caracal policy add-version ${word(p.name)} policy.rego${tests ? " --tests policy_test.rego" : ""}`} />
      </Card>
      {newest.data && <PolicyTests content={text} tests={tests} onChange={setDraftTests} onCoverage={setCoverage} />}
      <Card title="Versions">
        <Table label="Versions" head={["Version", "Content", "Made", "By", "Compare"]}>
          {versions.slice(0, 500).map((v, i) => (
            <tr key={v.id}><td>{v.version} <Hash value={v.id} what="version id" /></td><td><Hash value={v.content_sha256} what="content hash" /></td><td><Ago at={v.created_at} /></td><td>{v.created_by}</td>
              <td>{versions[i + 1] && <button onClick={() => pick(versions[i + 1]?.id ?? "", v.id)}>with {versions[i + 1]?.version}</button>}{" "}
                {i > 0 && <button onClick={() => pick(v.id, versions[0]?.id ?? "")}>with newest</button>}</td></tr>
          ))}
        </Table>
        <Cli command={`caracal policy get ${word(p.name)}`} />
      </Card>
      {compared && (
        <Card title={`Version ${before.data.version} beside version ${after.data.version}`} aside={<button onClick={() => setSearch({})}>Close</button>}>
          <Diff before={before.data.content ?? ""} after={after.data.content ?? ""} labels={[`Version ${before.data.version}`, `Version ${after.data.version}`]} />
          <Cli command={`diff <(caracal policy version ${word(p.name)} ${before.data.id}) <(caracal policy version ${word(p.name)} ${after.data.id})`} />
        </Card>
      )}
      <Modal open={archiving} onClose={() => setArchiving(false)} title={`Archive ${p.name}?`}>
        <p>Set versions that have it keep it, and go on deciding with it. It can no longer be put into new ones.</p>
        <Problem error={archive.error} /><Cli command={`caracal policy delete ${word(p.name)}`} />
        <div className="row"><button className="danger" onClick={() => archive.mutate()}>Archive</button><button onClick={() => setArchiving(false)}>Keep</button></div>
      </Modal>
    </Page>
  );
}
