// Who may call, and as what.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../api.ts";
import { Ago, Badge, Card, Cli, Copy, Field, Loading, Modal, Page, Problem, Table, word } from "../ui.tsx";
import { useZone } from "../zone.ts";

const roles = ["viewer", "author", "activator", "auditor", "daemon", "admin"];

export default function Tokens() {
  const zone = useZone();
  const queries = useQueryClient();
  const tokens = useQuery({ queryKey: ["tokens"], queryFn: ({ signal }) => api.tokens.list({ limit: 500 }, { signal }) });
  const [name, setName] = useState("");
  const [chosen, setChosen] = useState<string[]>(["viewer"]);
  const [here, setHere] = useState(false);
  const [revoking, setRevoking] = useState<{ id: string; name: string }>();
  const again = () => queries.invalidateQueries({ queryKey: ["tokens"] });
  const create = useMutation({ mutationFn: () => api.tokens.create({ name, roles: chosen, ...(here ? { zone_id: zone } : {}) }), onSuccess: again, gcTime: 0 });
  const revoke = useMutation({ mutationFn: (id: string) => api.tokens.revoke(id), onSuccess: () => { setRevoking(undefined); return again(); } });
  return (
    <Page title="Tokens" intro="A token has roles, and may be bound to one zone. Its secret is shown once.">
      <Card title="New token">
        <form onSubmit={(e) => { e.preventDefault(); create.mutate(); }}>
          <Field label="Name">{(p) => <input {...p} required value={name} onChange={(e) => setName(e.target.value)} />}</Field>
          <fieldset><legend>Roles</legend><div className="row">{roles.map((r) => <label key={r}><input type="checkbox" checked={chosen.includes(r)} onChange={(e) => setChosen(e.target.checked ? [...chosen, r] : chosen.filter((c) => c !== r))} /> {r}</label>)}</div></fieldset>
          <p><label><input type="checkbox" checked={here} onChange={(e) => setHere(e.target.checked)} /> Only this zone</label></p>
          <button className="primary" disabled={chosen.length === 0 || create.isPending}>Create token</button>
        </form>
        <Problem error={create.error} />
        <div role="status">{create.data && <div className="note">The secret of {create.data.name}, shown only now: <code>{create.data.token}</code> <Copy what="secret" text={create.data.token} /> <button onClick={() => create.reset()}>I have it</button></div>}</div>
        <Cli command={`caracal token create ${word(name || "NAME")} ${chosen.map((r) => `--role ${r}`).join(" ")}${here ? ` --only-zone ${zone}` : ""}`} />
      </Card>
      <Card title="Tokens">
        <Problem error={tokens.error} />{tokens.isPending && <Loading what="tokens" />}
        {tokens.data && tokens.data.length === 0 && <p className="muted">There is none beside the one the control plane was started with.</p>}
        {tokens.data && tokens.data.length > 0 && (
          <Table label="Tokens" head={["Name", "Roles", "Zone", "Last used", "State", "Actions"]}>
            {tokens.data.map((t) => <tr key={t.id}><td>{t.name}</td><td>{t.roles.join(", ")}</td><td>{t.zone_id ?? "all"}</td><td><Ago at={t.last_used_at} /></td>
              <td>{t.revoked_at ? <Badge tone="bad">revoked</Badge> : <Badge tone="good">good</Badge>}</td><td>{!t.revoked_at && <button className="danger" onClick={() => setRevoking(t)}>Revoke</button>}</td></tr>)}
          </Table>
        )}
        <Cli command="caracal token list" />
      </Card>
      <Modal open={!!revoking} onClose={() => setRevoking(undefined)} title={`Revoke ${revoking?.name ?? ""}?`}>
        <p>Calls with it are refused at once, and consoles signed in by it are signed out.</p><Problem error={revoke.error} /><Cli command={`caracal token revoke ${revoking?.id ?? ""}`} />
        <div className="row"><button className="danger" onClick={() => revoking && revoke.mutate(revoking.id)}>Revoke</button><button onClick={() => setRevoking(undefined)}>Keep</button></div>
      </Modal>
    </Page>
  );
}
