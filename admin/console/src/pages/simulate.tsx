// Trying an input on a version, beside what the active version answers.
import { parseExactly, type Simulation, stringifyExactly } from "@caracalai/admin";
import { useMutation, useQuery } from "@tanstack/react-query";
import { lazy, useEffect, useState } from "react";
import { Link, useSearchParams } from "wouter";
import { api } from "../api.ts";
import { templates } from "../inputs.ts";
import { markSimulated } from "../simulated.ts";
import { Badge, Card, Cli, Decision, Empty, Field, Hash, Json, Page, Problem, word } from "../ui.tsx";
import { Trace } from "../trace.tsx";
import { useActive, useSets, useSetVersions, useZone } from "../zone.ts";

const Editor = lazy(() => import("../editor/editor.tsx"));

interface Beside { candidate: Simulation; active: Simulation | null }

export default function Simulate() {
  const zone = useZone();
  const [search, setSearch] = useSearchParams();
  const sets = useSets();
  const active = useActive();
  const set = search.get("set") ?? active.data?.policy_set_id ?? sets.data?.[0]?.id ?? "";
  const versions = useSetVersions(set);
  const version = search.get("version") ?? versions.data?.[0]?.id ?? "";
  const request = search.get("request");
  const [text, setText] = useState(() => stringifyExactly(templates(zone)[0]?.input, 2));
  const [expected, setExpected] = useState<"" | "allow" | "deny">("");
  const recent = useQuery({ queryKey: ["recent", zone], queryFn: ({ signal }) => api.audit.page(zone, { limit: 50, event_type: "decision" }, { signal }) });
  const denial = useQuery({ queryKey: ["explain", zone, request], enabled: !!request, staleTime: Infinity, queryFn: ({ signal }) => api.audit.explain(zone, request ?? "", { signal }) });
  const given = (denial.data?.denied[0] ?? denial.data?.allowed[0])?.policy_input;
  useEffect(() => { if (given !== undefined && given !== null) setText(stringifyExactly(given, 2)); }, [given]);
  const schema = useQuery({ queryKey: ["input-schema"], staleTime: Infinity, queryFn: ({ signal }) => api.policies.inputSchema({ signal }) });
  const run = useMutation({
    mutationFn: async (): Promise<Beside> => {
      let input: unknown;
      try { input = parseExactly(text); } catch (error) { throw new Error(`The input is no JSON: ${error instanceof Error ? error.message : String(error)}`); }
      const now = active.data;
      const [candidate, current] = await Promise.all([
        api.policySets.simulate(zone, set, version, input, { trace: true, ...(expected ? { expectedDecision: expected } : {}) }),
        now?.policy_set_id && now.policy_set_version_id ? api.policySets.simulate(zone, now.policy_set_id, now.policy_set_version_id, input, { trace: true }) : null,
      ]);
      return { candidate, active: current };
    },
    onSuccess: ({ candidate }) => { if (candidate.result) markSimulated(candidate.version_id); },
  });
  const change = (next: Record<string, string | null>) => setSearch((was) => {
    for (const [k, v] of Object.entries(next)) { if (v === null) was.delete(k); else was.set(k, v); }
    return was;
  });
  const name = sets.data?.find((s) => s.id === set)?.name ?? set;
  if (sets.data?.length === 0) {
    return <Page title="Simulate"><Empty title="Nothing to simulate yet" action={<Link className="primary" href={`/z/${zone}/policies/new`}>New policy</Link>}>Write a policy, compose a set version of it, and then try inputs on it here: with the very engine that serves traffic, and nobody governed by it.</Empty></Page>;
  }
  return (
    <Page title="Simulate" intro="The very engine that serves traffic, on the very bundle that daemons would load. Nothing changes.">
      <div className="filters">
        <Field label="Policy set">{(props) => <select {...props} value={set} onChange={(e) => change({ set: e.target.value, version: null })}>{sets.data?.map((s) => <option key={s.id} value={s.id}>{s.name}</option>)}</select>}</Field>
        <Field label="Version">{(props) => <select {...props} value={version} onChange={(e) => change({ set, version: e.target.value })}>{versions.data?.map((v) => <option key={v.id} value={v.id}>{v.version}{v.id === active.data?.policy_set_version_id ? " (active)" : ""}</option>)}</select>}</Field>
        <Field label="Input from">{(props) => (
          <select {...props} value={request ? `r:${request}` : ""} onChange={(e) => {
            const value = e.target.value;
            if (value.startsWith("r:")) return change({ request: value.slice(2) });
            change({ request: null });
            const template = templates(zone).find((t) => `t:${t.id}` === value);
            if (template) setText(stringifyExactly(template.input, 2));
          }}>
            <option value="">As written below</option>
            <optgroup label="Templates">{templates(zone).map((t) => <option key={t.id} value={`t:${t.id}`}>{t.name}</option>)}</optgroup>
            <optgroup label="Recent denials">
              {request && !recent.data?.items.some((e) => e.request_id === request) && <option value={`r:${request}`}>{request}</option>}
              {recent.data?.items.filter((e) => e.decision === "deny").map((e) => <option key={e.id} value={`r:${e.request_id}`}>{e.request_id}</option>)}
            </optgroup>
            <optgroup label="Recent requests that were allowed">{recent.data?.items.filter((e) => e.decision === "allow").map((e) => <option key={e.id} value={`r:${e.request_id}`}>{e.request_id}</option>)}</optgroup>
          </select>)}
        </Field>
        <Field label="Expected">{(props) => <select {...props} value={expected} onChange={(e) => setExpected(e.target.value as "" | "allow" | "deny")}><option value="">no decision</option><option value="allow">allow</option><option value="deny">deny</option></select>}</Field>
        <button className="primary" disabled={!version || run.isPending} onClick={() => run.mutate()}>Simulate</button>
      </div>
      <Problem error={denial.error} retry={() => void denial.refetch()} />
      {request && denial.data && <div className="note warn">This is the input of <Link href={`/z/${zone}/audit/${encodeURIComponent(request)}`}>request {request}</Link>, as it was evaluated.{given === undefined || given === null ? " No input was kept with it." : ""}</div>}
      <Problem error={run.error} />
      {run.data && <Versus candidate={run.data.candidate} active={run.data.active} />}
      <div className="split wide">
        <Card title="Input"><Editor label="Input" language="json" value={text} onChange={setText} schema={schema.data} /></Card>
        <div aria-live="polite">
          {!run.data && <Empty title="No answer yet">Simulate to see what this version decides, beside the active version.</Empty>}
          {run.data && <div className="halves">
            <div><Answer title={`${name}, this version`} simulation={run.data.candidate} />
            {run.data.candidate.would_activate
              ? <div className="note">Nothing speaks against activating it. <Link href={`/z/${zone}/activate?set=${run.data.candidate.policy_set_id}&version=${run.data.candidate.version_id}`}>Activate this version</Link></div>
              : <div className="note warn">It should not be activated: {run.data.candidate.explanation.reason}</div>}</div>
            {run.data.active ? <Answer title="The active version" simulation={run.data.active} /> : <Card title="The active version"><p>Nothing is active: everything is denied.</p></Card>}
          </div>}
        </div>
      </div>
      <Cli command={request
        ? `caracal audit explain ${word(request)} --input | caracal policy-set simulate ${word(name)} ${version} --input - --trace${expected ? ` --expect ${expected}` : ""}`
        : `caracal policy-set simulate ${word(name)} ${version} --input input.json --trace${expected ? ` --expect ${expected}` : ""}`} />
    </Page>
  );
}

/** What both versions decide, in a line. */
function Versus({ candidate, active }: { candidate: Simulation; active: Simulation | null }) {
  const now = active?.result?.decision ?? "deny", then = candidate.result?.decision;
  return (
    <div className="card versus" role="status"><span>Active version <Decision value={now} /></span><span aria-hidden="true" className="muted">→</span><span>This version {then ? <Decision value={then} /> : <Badge tone="warn">no decision</Badge>}</span>
      <span className="muted small">{then === undefined ? "The input could not be evaluated." : then === now ? "Both decide the same." : "The decision changes."}</span></div>
  );
}

function Answer({ title, simulation }: { title: string; simulation: Simulation }) {
  const { result, explanation } = simulation;
  return (
    <Card title={title} aside={result && <Decision value={result.decision} />}>
      <dl className="facts">
        <dt>Why</dt><dd>{explanation.reason}</dd>
        <dt>Status</dt><dd>{result?.evaluation_status ?? explanation.evaluation}</dd>
        <dt>Determined by</dt><dd>{result && result.determining_policies.length > 0 ? result.determining_policies.map((p, i) => <Badge key={i} tone="plain">{String(p["policy"] ?? p["policy_id"])}</Badge>) : "no policy"}</dd>
        <dt>Manifest</dt><dd><Hash value={simulation.manifest_sha256} what="manifest hash" /></dd>
      </dl>
      {result && result.diagnostics.length > 0 && <Json value={result.diagnostics} label="Diagnostics" />}
      {simulation.trace && <Trace trace={simulation.trace} />}
      {simulation.warnings.map((w, i) => <div key={i} className="note warn">{w.policy && <strong>{w.policy}: </strong>}{w.message}</div>)}
    </Card>
  );
}
