// All zones that the token reaches, what governs each, and making one.
import type { Zone } from "@caracalai/admin";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { api } from "../api.ts";
import { Ago, Badge, Card, Cli, Empty, Field, onceKey, Page, Problem, Table, word } from "../ui.tsx";

/** The most zones of which the list says what governs them: each takes calls of its own. */
const described = 100;

export function Zones() {
  const queries = useQueryClient();
  const zones = useQuery({ queryKey: ["zones"], queryFn: ({ signal }) => api.zones.list({}, { signal }) });
  const [name, setName] = useState("");
  const create = useMutation({
    mutationFn: () => api.zones.create({ name }, { idempotencyKey: onceKey() }),
    onSuccess: () => { setName(""); return queries.invalidateQueries({ queryKey: ["zones"] }); },
  });
  return (
    <Page title="Zones" intro="A zone is a tenant: it owns policies, sets, one active version and an audit trail.">
      <Problem error={zones.error} />
      {zones.data?.length === 0 && <Empty title="No zone yet">Create the first one below. It denies everything until a version is activated in it.</Empty>}
      {zones.data && zones.data.length > 0 && (
        <Table label="Zones" head={["Zone", "Governed by", "Since", "By", "Made"]}>{zones.data.map((z, i) => <Row key={z.id} zone={z} describe={i < described} />)}</Table>
      )}
      <Cli command="caracal zone list" />
      <div className="gap" />
      <Card title="New zone">
        <form onSubmit={(e) => { e.preventDefault(); create.mutate(); }}>
          <Field label="Name" hint="It denies everything until a version is activated.">{(props) => <input {...props} required value={name} onChange={(e) => setName(e.target.value)} />}</Field>
          <button className="primary" disabled={create.isPending}>Create zone</button>
        </form>
        <Problem error={create.error} /><Cli command={`caracal zone create ${word(name || "NAME")}`} />
      </Card>
    </Page>
  );
}

function Row({ zone, describe }: { zone: Zone; describe: boolean }) {
  const governing = useQuery({
    queryKey: ["governing", zone.id], enabled: describe, refetchInterval: 10_000,
    queryFn: async ({ signal }) => {
      const active = await api.zones.active(zone.id, { signal });
      if (!active.policy_set_id || !active.policy_set_version_id) return { active, text: null };
      const [set, version] = await Promise.all([api.policySets.get(zone.id, active.policy_set_id, { signal }), api.policySets.getVersion(zone.id, active.policy_set_id, active.policy_set_version_id, { signal })]);
      return { active, text: `${set.name} version ${version.version}` };
    },
  });
  const { active, text } = governing.data ?? {};
  return (
    <tr><td><Link className="name" href={`/z/${zone.id}`}>{zone.name}</Link><div className="muted small">{zone.slug}</div></td>
      <td>{!active ? <span className="muted">…</span> : text ? <Badge tone="good">{text}</Badge> : <Badge tone="warn">nothing: it denies everything</Badge>}</td>
      <td>{active && text && <Ago at={active.since} />}</td><td>{text && active?.activated_by}</td><td><Ago at={zone.created_at} /></td></tr>
  );
}
