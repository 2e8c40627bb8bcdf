// The command palette: every page, policy, set and zone, and what can be done with them, by a few letters.
import { useQuery } from "@tanstack/react-query";
import { useId, useMemo, useState } from "react";
import { useLocation } from "wouter";
import { api } from "./api.ts";
import { places } from "./app.tsx";
import { Modal } from "./ui.tsx";
import { usePolicies, useSets, useZone } from "./zone.ts";

export function Palette({ open, onClose }: { open: boolean; onClose: () => void }) {
  return <Modal open={open} onClose={onClose} title="Go to">{open && <Finder onClose={onClose} />}</Modal>;
}

function Finder({ onClose }: { onClose: () => void }) {
  const zone = useZone();
  const [, go] = useLocation();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const list = useId();
  const policies = usePolicies();
  const sets = useSets();
  const zones = useQuery({ queryKey: ["zones"], queryFn: ({ signal }) => api.zones.list({}, { signal }) });
  // What a list that is still on its way will bring stands before what comes after
  // it: nothing is offered that would then move from under the finger on Enter.
  const looking = [policies, sets, zones].findIndex((q) => q.isLoading);
  const found = useMemo(() => {
    const here = `/z/${zone}`;
    const lists = [
      (policies.data ?? []).map((p) => ({ name: p.name, kind: "policy", path: `${here}/policies/${p.id}` })),
      (sets.data ?? []).flatMap((s) => [
        { name: s.name, kind: "policy set", path: `${here}/sets/${s.id}` },
        { name: `Simulate ${s.name}`, kind: "action", path: `${here}/simulate?set=${s.id}` },
        { name: `Activate ${s.name}`, kind: "action", path: `${here}/activate?set=${s.id}` },
      ]),
      (zones.data ?? []).filter((z) => z.id !== zone).map((z) => ({ name: z.name, kind: "zone", path: `/z/${z.id}` })),
    ];
    const all = [
      ...places.map((p) => ({ name: p.name, kind: "page", path: here + p.path })),
      { name: "All zones", kind: "page", path: "/zones" },
      { name: "New policy", kind: "action", path: `${here}/policies/new` },
      { name: "Denials", kind: "audit", path: `${here}/audit?decision=deny` },
      { name: "Gaps in the audit", kind: "audit", path: `${here}/audit?event_type=audit_gap` },
      ...(looking < 0 ? lists : lists.slice(0, looking)).flat(),
    ];
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const hits = all.filter((a) => words.every((w) => `${a.name} ${a.kind}`.toLowerCase().includes(w)));
    if (looking < 0 && words.length === 1 && text.length > 5) hits.push({ name: `Request ${text}`, kind: "audit", path: `${here}/audit/${encodeURIComponent(text.trim())}` });
    return hits.slice(0, 12);
  }, [zone, text, looking, policies.data, sets.data, zones.data]);
  const take = (path: string | undefined) => { if (path !== undefined) { go(path); onClose(); } };
  return (
    <>
      <input role="combobox" aria-expanded="true" aria-controls={list} aria-activedescendant={found[at] ? `${list}-${at}` : undefined}
        aria-label="Page, policy, policy set or request id" placeholder="Page, policy, set, zone or request id" autoFocus value={text}
        onChange={(e) => { setText(e.target.value); setAt(0); }}
        onKeyDown={(e) => {
          if (e.key === "ArrowDown") { e.preventDefault(); setAt(Math.min(at + 1, found.length - 1)); }
          if (e.key === "ArrowUp") { e.preventDefault(); setAt(Math.max(at - 1, 0)); }
          if (e.key === "Enter") { e.preventDefault(); take(found[at]?.path); }
        }} />
      <ul id={list} role="listbox" aria-label="Found" className="found">
        {found.map((f, i) => (
          <li key={f.path + f.name} id={`${list}-${i}`} role="option" aria-selected={i === at} onClick={() => take(f.path)}>{f.name}<span className="muted">{f.kind}</span></li>
        ))}
      </ul>
      {found.length === 0 && <p className="muted" role="status">{looking < 0 ? "Nothing has this name." : "Looking…"}</p>}
      <p className="muted small"><kbd>↑</kbd> <kbd>↓</kbd> choose, <kbd>Enter</kbd> goes there, <kbd>Esc</kbd> closes; <kbd>/</kbd> opens this, too.</p>
    </>
  );
}
