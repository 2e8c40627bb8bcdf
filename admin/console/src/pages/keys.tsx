// The trust roots: whose signatures on bundles and pointers count.
import { useQuery } from "@tanstack/react-query";
import { api } from "../api.ts";
import { Badge, Card, Cli, Hash, Json, Loading, Page, Problem } from "../ui.tsx";

interface Root { signed?: { version?: number; expires?: string; roles?: Record<string, { keyids?: string[]; threshold?: number }> } }

export default function Keys() {
  const trust = useQuery({ queryKey: ["trust"], queryFn: ({ signal }) => api.keys.trust({ signal }) });
  const roots = ((trust.data?.roots ?? []) as Root[]).toReversed();
  return (
    <Page title="Keys" intro="Daemons are pinned to a trust root. It says which keys sign bundles and pointers; a new one has to be signed by the one before.">
      <Problem error={trust.error} retry={() => void trust.refetch()} />{trust.isPending && <Loading what="the trust roots" />}
      {roots.map((r, i) => (
        <Card key={i} title={`Trust root, version ${r.signed?.version ?? "unknown"}`} aside={i === 0 ? <Badge tone="good">current</Badge> : <Badge tone="plain">before</Badge>}>
          <dl className="facts"><dt>Good until</dt><dd>{r.signed?.expires}</dd>
            {Object.entries(r.signed?.roles ?? {}).map(([role, { keyids = [], threshold }]) => [<dt key={role}>{role}</dt>, <dd key={`${role} keys`}>{threshold} of {keyids.map((k) => <Hash key={k} value={k} what={`${role} key id`} />)}</dd>])}</dl>
          <details><summary>The document</summary><Json value={r} label="Trust root" /></details>
        </Card>
      ))}
      <Cli command="caracal key root fetch root.json && caracal key root show root.json" />
    </Page>
  );
}
