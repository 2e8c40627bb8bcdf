// All zones that the token reaches, and making one.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { api } from "../api.ts";
import { Card, Cli, Field, Page, Problem, word } from "../ui.tsx";

export function Zones() {
  const queries = useQueryClient();
  const zones = useQuery({ queryKey: ["zones"], queryFn: ({ signal }) => api.zones.list({}, { signal }) });
  const [name, setName] = useState("");
  const create = useMutation({
    mutationFn: () => api.zones.create({ name }, { idempotencyKey: crypto.randomUUID() }),
    onSuccess: () => { setName(""); return queries.invalidateQueries({ queryKey: ["zones"] }); },
  });
  return (
    <Page title="Zones" intro="A zone is a tenant: it owns policies, sets, one active version and an audit trail.">
      <Problem error={zones.error} />
      <Card title="Choose a zone"><ul>{zones.data?.map((z) => <li key={z.id}><Link href={`/z/${z.id}`}>{z.name}</Link> <span className="muted">{z.slug}</span></li>)}</ul></Card>
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
