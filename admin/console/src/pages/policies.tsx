// The zone's policies.
import { Link } from "wouter";
import { Ago, Cli, Empty, Hash, Loading, Page, Problem, Table } from "../ui.tsx";
import { usePolicies, useZone } from "../zone.ts";

export default function Policies() {
  const zone = useZone();
  const policies = usePolicies();
  const add = <Link className="primary" href={`/z/${zone}/policies/new`}>New policy</Link>;
  return (
    <Page title="Policies" intro="A policy is a named Rego document. Its versions never change; a policy set picks among them." actions={add}>
      <Problem error={policies.error} retry={() => void policies.refetch()} />
      {policies.isPending && <Loading what="policies" />}
      {policies.data?.length === 0 && <Empty title="No policy yet" action={add}>Write one, or begin with a template. Nobody is governed by it until a policy set that has it is activated.</Empty>}
      {policies.data && policies.data.length > 0 && (
        <Table label="Policies" head={["Name", "Newest version", "Content", "Changed", "By"]}>
          {policies.data.map((p) => (
            <tr key={p.id}><td><Link href={`/z/${zone}/policies/${p.id}`}>{p.name}</Link><div className="muted small">{p.description}</div></td>
              <td>{p.version.version}</td><td><Hash value={p.version.content_sha256} what="content hash" /></td><td><Ago at={p.version.created_at} /></td><td>{p.version.created_by}</td></tr>
          ))}
        </Table>
      )}
      <Cli command="caracal policy list" />
    </Page>
  );
}
