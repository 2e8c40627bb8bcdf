// The audit: filters in the address, pages through cursors, and a live tail.
import type { AuditEvent } from "@caracalai/admin";
import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useState } from "react";
import { Link, useSearchParams } from "wouter";
import { api } from "../api.ts";
import { Badge, Cli, Decision, Empty, Field, Page, Problem, word } from "../ui.tsx";
import { useZone } from "../zone.ts";

/** The most events that a live tail keeps on the page. */
const kept = 5_000;
const names = ["decision", "event_type", "request_id", "since", "until"] as const;

export default function Audit() {
  const zone = useZone();
  const queries = useQueryClient();
  const [search, setSearch] = useSearchParams();
  const filter = Object.fromEntries(names.flatMap((n) => { const v = search.get(n); return v ? [[n, v]] : []; })) as { decision?: "allow" | "deny"; event_type?: string; request_id?: string; since?: string; until?: string };
  const [live, setLive] = useState<AuditEvent[]>([]);
  const [following, follow] = useState(true);
  const [state, setState] = useState<"opening" | "open" | "lost">("opening");
  const [failed, setFailed] = useState<unknown>(null);
  const key = JSON.stringify(filter);
  const pages = useInfiniteQuery({
    queryKey: ["audit", zone, key], initialPageParam: null as string | null, refetchOnWindowFocus: false,
    queryFn: ({ pageParam, signal }) => api.audit.page(zone, { ...filter, limit: 200, cursor: pageParam }, { signal }),
    getNextPageParam: (page) => page.next_cursor,
  });
  const tails = following && !filter.until && !filter.request_id;
  useEffect(() => {
    setLive([]);
    setFailed(null);
    if (!tails) return;
    const end = new AbortController();
    const { decision, event_type } = JSON.parse(key) as typeof filter;
    // The list was read before the tail opened: what came in between is read once it has.
    let given = false;
    const onState = (next: "opening" | "open" | "lost") => {
      setState(next);
      if (next === "open" && !given) void queries.invalidateQueries({ queryKey: ["audit", zone, key] });
    };
    void (async () => {
      try {
        for await (const event of api.audit.tail(zone, { ...(decision ? { decision } : {}), ...(event_type ? { event_type } : {}), signal: end.signal, onState })) {
          given = true;
          setLive((was) => [event, ...was].slice(0, kept));
        }
      } catch (error) {
        if (!end.signal.aborted) setFailed(error);
      }
    })();
    return () => end.abort();
  }, [zone, key, tails, queries]);
  const stored = pages.data?.pages.flatMap((p) => p.items) ?? [];
  const seen = new Set(live.map((e) => e.id));
  const rows = [...live, ...stored.filter((e) => !seen.has(e.id))];
  const host = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => host.current, estimateSize: () => 38, overscan: 12 });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = pages;
  useEffect(() => { if (last >= rows.length - 20 && hasNextPage && !isFetchingNextPage) void fetchNextPage(); }, [last, rows.length, hasNextPage, isFetchingNextPage, fetchNextPage]);
  const set = (name: string, value: string) => setSearch((was) => { if (value) was.set(name, value); else was.delete(name); return was; });
  const flags = [filter.decision && `--decision ${filter.decision}`, filter.event_type && `--type ${word(filter.event_type)}`, filter.request_id && `--request-id ${word(filter.request_id)}`, filter.since && `--since ${filter.since}`, filter.until && `--until ${filter.until}`].filter(Boolean).join(" ");
  const file = (format: string) => `/v1/zones/${zone}/audit?${new URLSearchParams({ ...filter, format }).toString()}`;
  const local = (value: string | undefined) => (value ? new Date(Date.parse(value) - new Date().getTimezoneOffset() * 60_000).toISOString().slice(0, 16) : "");
  const time = (value: string) => (value ? new Date(value).toISOString() : "");
  return (
    <Page title="Audit" intro="Every decision, with the exact input and the policy-set version that made it." actions={<>
      <span role="status">{tails ? <Badge tone={state === "open" ? "good" : "warn"}>{state === "open" ? "live" : state === "lost" ? "live tail lost, opening again" : "opening the live tail"}</Badge> : <Badge tone="plain">not live</Badge>}</span>
      <button aria-pressed={following} onClick={() => follow(!following)}>{following ? "Pause live tail" : "Follow live"}</button>
      <a className="primary" href={file("csv")} download={`audit-${zone}.csv`}>Export CSV</a><a className="button" href={file("ndjson")} download={`audit-${zone}.ndjson`}>NDJSON</a></>}>
      <div className="filters">
        <Field label="Decision">{(p) => <select {...p} value={filter.decision ?? ""} onChange={(e) => set("decision", e.target.value)}><option value="">any</option><option>allow</option><option>deny</option></select>}</Field>
        <Field label="Type">{(p) => <select {...p} value={filter.event_type ?? ""} onChange={(e) => set("event_type", e.target.value)}><option value="">any</option><option value="decision">decision</option><option value="audit_gap">gap in the audit</option></select>}</Field>
        <Field label="Since">{(p) => <input {...p} type="datetime-local" value={local(filter.since)} onChange={(e) => set("since", time(e.target.value))} />}</Field>
        <Field label="Until">{(p) => <input {...p} type="datetime-local" value={local(filter.until)} onChange={(e) => set("until", time(e.target.value))} />}</Field>
        <form onSubmit={(e) => { e.preventDefault(); set("request_id", String(new FormData(e.currentTarget).get("id") ?? "").trim()); }}><Field label="Request id">{(p) => <input {...p} key={filter.request_id} name="id" defaultValue={filter.request_id} />}</Field></form>
        {key !== "{}" && <button onClick={() => setSearch({})}>Clear filters</button>}
      </div>
      <Problem error={pages.error ?? failed} retry={() => void pages.refetch()} />
      {pages.data && rows.length === 0
        ? <Empty title={key === "{}" ? "No decision yet" : "Nothing matches"}>{key === "{}" ? "As soon as a daemon decides for this zone, its decisions show up here by themselves. Try one: caracal decide input.json" : "Widen the filters, or wait: what matches shows up here by itself."}</Empty>
        : <div className="card tail" ref={host} tabIndex={0} role="region" aria-label="Audit events, newest first">
            <div className="tail-body" role="table" aria-label="Audit events" aria-rowcount={hasNextPage ? -1 : rows.length}>
              <div role="rowgroup"><div role="row" className="tail-row tail-head" style={{ position: "sticky", height: 34 }}>{["Time", "Decision", "Status", "Request", "Determined by"].map((h) => <span key={h} role="columnheader">{h}</span>)}</div></div>
              <div role="rowgroup" style={{ height: virtual.getTotalSize(), position: "relative" }}>
                {items.map((item) => {
                  const e = rows[item.index];
                  return e && (
                    <div role="row" key={e.id} aria-rowindex={item.index + 2} className="tail-row" style={{ top: item.start, height: item.size }}>
                      <span role="cell" title={e.occurred_at}>{new Date(e.occurred_at).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" })}</span>
                      <span role="cell">{e.event_type === "decision" ? <Decision value={e.decision} /> : <Badge tone="warn">{e.event_type}</Badge>}</span><span role="cell">{e.evaluation_status}</span>
                      <span role="cell">{e.request_id && <Link href={`/z/${zone}/audit/${encodeURIComponent(e.request_id)}`}>{e.request_id}</Link>}</span>
                      <span role="cell">{policiesOf(e.determining_policies_json)}</span>
                    </div>
                  );
                })}
              </div>
            </div>
          </div>}
      <p className="muted small">{rows.length} events read{hasNextPage ? "; more are read as you scroll" : ""}.</p>
      <Cli command={`caracal audit ${tails ? "tail" : "list"} ${flags}`.trim()} /><Cli command={`caracal audit export --format csv --output audit.csv ${flags}`.trim()} />
    </Page>
  );
}

/** The names of the policies that determined a decision. */
export function policiesOf(value: unknown): string {
  return Array.isArray(value) ? value.map((p: Record<string, unknown>) => String(p["policy"] ?? p["policy_id"] ?? "")).filter(Boolean).join(", ") : "";
}
