// The daemons, and what each has loaded.
import { Ago, Badge, Cli, Empty, Hash, Loading, Page, Problem, Table } from "../ui.tsx";
import { useActive, useDaemons, useZone } from "../zone.ts";

export default function Fleet() {
  const zone = useZone();
  const active = useActive();
  const daemons = useDaemons();
  return (
    <Page title="Fleet" intro="Daemons decide beside the STS. Each reports what it has loaded, every few seconds.">
      <Problem error={daemons.error} retry={() => void daemons.refetch()} />
      {daemons.isPending && <Loading what="daemons" />}
      {daemons.data?.length === 0 && <Empty title="No daemon has reported">Make a token with the role daemon on the page Tokens, and start caracald with it and the trust root.</Empty>}
      {daemons.data && daemons.data.length > 0 && (
        <Table label="Daemons" head={["Daemon", "State", "Behind by", "Version", "Manifest", "Loaded", "Last seen", "Software"]}>
          {daemons.data.map((d) => {
            const z = d.zones.find((one) => one.zone_id === zone);
            const lag = (active.data?.sequence ?? 0) - (z?.sequence ?? 0);
            return (
              <tr key={d.id}><td>{d.name}<div className="muted small">{Object.entries(d.labels).map(([k, v]) => `${k}=${v}`).join(" ")}</div></td>
                <td>{!z ? <Badge tone="plain">not of this zone</Badge> : z.state === "failed" ? <Badge tone="bad">failed</Badge> : lag > 0 ? <Badge tone="warn">behind</Badge> : <Badge tone="good">{z.state}</Badge>}{z?.detail && <div className="small">{z.detail}</div>}</td>
                <td>{lag > 0 ? `${lag} activations` : "nothing"}</td><td><Hash value={z?.policy_set_version_id} what="version id" /></td><td><Hash value={z?.manifest_sha256} what="manifest hash" /></td><td><Ago at={z?.loaded_at} /></td><td><Ago at={d.last_seen_at} /></td><td>{d.version}</td></tr>
            );
          })}
        </Table>
      )}
      <Cli command="caracal daemon list" />
    </Page>
  );
}
