// Who changed what.
import { useInfiniteQuery } from "@tanstack/react-query";
import { useSearchParams } from "wouter";
import { api } from "../api.ts";
import { Badge, Cli, Empty, Field, Hash, Json, Loading, Page, Problem, Table, word } from "../ui.tsx";
import { useZone } from "../zone.ts";

export default function AdminAudit() {
  const zone = useZone();
  const [search, setSearch] = useSearchParams();
  const action = search.get("action") ?? "", everywhere = search.get("zones") === "all";
  const pages = useInfiniteQuery({
    queryKey: ["admin-audit", everywhere ? null : zone, action], initialPageParam: null as string | null,
    queryFn: ({ pageParam, signal }) => api.adminAudit.page(everywhere ? null : zone, { limit: 100, cursor: pageParam, ...(action ? { action } : {}) }, { signal }),
    getNextPageParam: (page) => page.next_cursor,
  });
  const rows = pages.data?.pages.flatMap((p) => p.items) ?? [];
  const set = (name: string, value: string) => setSearch((was) => { if (value) was.set(name, value); else was.delete(name); return was; });
  return (
    <Page title="Admin audit" intro="Every write and every refused write, each chained to the one before by its hash, so that a changed or missing entry shows.">
      <div className="filters">
        <Field label="Operation">{(p) => <select {...p} value={action} onChange={(e) => set("action", e.target.value)}><option value="">any</option>{["policy.create", "policy_version.create", "policy_set.create", "policy_set_version.create", "policy_set.activate", "token.create", "token.revoke", "zone.create"].map((a) => <option key={a}>{a}</option>)}</select>}</Field>
        <label><input type="checkbox" checked={everywhere} onChange={(e) => set("zones", e.target.checked ? "all" : "")} /> All zones</label>
      </div>
      <Problem error={pages.error} retry={() => void pages.refetch()} />{pages.isPending && <Loading what="entries" />}
      {pages.data && rows.length === 0 && <Empty title="No entry">What people and scripts change in this zone is listed here.</Empty>}
      {rows.length > 0 && (
        <Table label="Entries" head={["Chain", "When", "Who", "Did", "To", "Answer", "Details"]}>
          {rows.map((e) => <tr key={e.id}><td>{e.chain_seq}<div><Hash value={e.chain_hash} what="chain hash" /></div></td><td><time dateTime={e.occurred_at}>{new Date(e.occurred_at).toLocaleString()}</time></td><td>{e.actor_name}</td><td>{e.action}</td>
            <td>{e.entity_type}<div><Hash value={e.entity_id} what="id" /></div></td><td><Badge tone={e.status_code < 400 ? "good" : "bad"}>{e.status_code}</Badge></td><td className="wrap"><details><summary>Payload</summary><Json value={e.payload_json} label="Payload" /></details></td></tr>)}
        </Table>
      )}
      {pages.hasNextPage && <button onClick={() => void pages.fetchNextPage()}>Read more</button>}
      <Cli command={`caracal audit admin${everywhere ? " --all-zones" : ""}${action ? ` --action ${word(action)}` : ""}`} />
    </Page>
  );
}
