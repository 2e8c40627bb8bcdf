// Checking a set version's hashes: each is computed anew here, from what the control plane gives out.
import type { PolicySetVersion } from "@caracalai/admin";
import { useQuery } from "@tanstack/react-query";
import { api } from "../api.ts";
import { Badge, Cli, Hash, Loading, Problem, Table } from "../ui.tsx";
import { useZone } from "../zone.ts";

interface Checked { what: string; told: string; computed: string }

async function sha256(data: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", data);
  return Array.from(new Uint8Array(hash), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** JSON with its names in order and no white space, as RFC 8785 has it. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([name, v]) => `${JSON.stringify(name)}:${canonical(v)}`).join(",")}}`;
}

export function Hashes({ version }: { version: PolicySetVersion }) {
  const zone = useZone();
  const checked = useQuery({
    queryKey: ["hashes", zone, version.id], staleTime: Infinity, retry: false,
    queryFn: async ({ signal }): Promise<Checked[]> => {
      if (!crypto.subtle) throw new Error("The browser computes no SHA-256 for a page that came neither over TLS nor from this machine. The command below checks the same, and the signature with it.");
      const text = new TextEncoder();
      const whole = await api.policySets.getVersion(zone, version.policy_set_id, version.id, { signal });
      const bundle = await api.bundles.get(version.bundle_sha256, { signal }); // refuses bytes of another hash
      const policies = await Promise.all((whole.policies ?? []).map(async (p): Promise<Checked> => {
        const { content } = await api.policies.getVersion(zone, p.policy_id, p.policy_version_id, { signal });
        return { what: `${p.name}, version ${p.version}`, told: p.content_sha256, computed: await sha256(text.encode(content ?? "")) };
      }));
      return [
        { what: `Bundle, ${bundle.length.toLocaleString()} bytes`, told: version.bundle_sha256, computed: await sha256(new Uint8Array(bundle)) },
        { what: "Manifest", told: version.manifest_sha256, computed: await sha256(text.encode(canonical(whole.manifest_json))) }, ...policies,
      ];
    },
  });
  const good = checked.data?.every((c) => c.told === c.computed);
  return (
    <>
      <p>What daemons load, hashed anew in this browser. The manifest's hash covers the hash of every policy in it.</p>
      {checked.isPending && <Loading what="the bundle and its policies" />}
      <Problem error={checked.error} />
      {checked.data && <>
        <div className={good ? "note" : "problem"} role="status">{good ? "Every hash is what it is said to be." : "What the control plane gives out is not what it says. Do not activate this version."}</div>
        <Table label="Hashes" head={["What", "SHA-256", "Checked"]}>
          {checked.data.map((c) => <tr key={c.what}><td className="wrap">{c.what}</td><td><Hash value={c.told} what={`hash of ${c.what}`} /></td><td>{c.told === c.computed ? <Badge tone="good">the same</Badge> : <Badge tone="bad">another</Badge>}</td></tr>)}
        </Table></>}
      <Cli command={`caracal bundle pull ${version.bundle_sha256} --output set.bundle && caracal bundle verify set.bundle --trust-root root.json`} />
    </>
  );
}
