// The zone's policy sets, and making one.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation } from "wouter";
import { api } from "../api.ts";
import { Ago, Badge, Card, Cli, Empty, Field, Loading, Page, Problem, Table, onceKey, word } from "../ui.tsx";
import { useSets, useZone } from "../zone.ts";

export default function Sets() {
  const zone = useZone();
  const [, go] = useLocation();
  const queries = useQueryClient();
  const sets = useSets();
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const create = useMutation({
    mutationFn: () => api.policySets.create(zone, name, description, { idempotencyKey: onceKey() }),
    onSuccess: async (set) => { await queries.invalidateQueries({ queryKey: ["sets", zone] }); go(`/z/${zone}/sets/${set.id}`); },
  });
  return (
    <Page title="Policy sets" intro="A set is a name for a series of versions; each version is an unchangeable list of policy versions, signed as one bundle. Exactly one version governs the zone.">
      <Problem error={sets.error} retry={() => void sets.refetch()} />
      {sets.isPending && <Loading what="policy sets" />}
      {sets.data?.length === 0 && <Empty title="No policy set yet">Create one below, compose a version of your policies, simulate it, and then activate it.</Empty>}
      {sets.data && sets.data.length > 0 && (
        <Table label="Policy sets" head={["Name", "State", "Made"]}>
          {sets.data.map((s) => <tr key={s.id}><td><Link href={`/z/${zone}/sets/${s.id}`}>{s.name}</Link><div className="muted small">{s.description}</div></td>
            <td>{s.active_version_id ? <Badge tone="good">governs the zone</Badge> : <span className="muted">not active</span>}</td><td><Ago at={s.created_at} /></td></tr>)}
        </Table>
      )}
      <Cli command="caracal policy-set list" />
      <div className="gap" />
      <Card title="New policy set">
        <form onSubmit={(e) => { e.preventDefault(); create.mutate(); }}>
          <div className="grid">
            <Field label="Name">{(props) => <input {...props} required value={name} onChange={(e) => setName(e.target.value)} />}</Field>
            <Field label="What it is for">{(props) => <input {...props} value={description} onChange={(e) => setDescription(e.target.value)} />}</Field>
          </div>
          <button className="primary" disabled={create.isPending}>Create policy set</button>
        </form>
        <Problem error={create.error} /><Cli command={`caracal policy-set create ${word(name || "NAME")}`} />
      </Card>
    </Page>
  );
}
