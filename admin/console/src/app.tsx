// The frame around every page: who is signed in, the zone, the way between pages.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { Link, Redirect, Route, Switch, useLocation, useParams } from "wouter";
import { api, isSignedOut, signOut } from "./api.ts";
import { Palette } from "./palette.tsx";
import { exchanged, SignIn } from "./signin.tsx";
import { applyTheme, type Theme, theme } from "./theme.ts";
import { Loading, Problem } from "./ui.tsx";
import { ZoneContext } from "./zone.ts";
import { Zones } from "./pages/zones.tsx";

const Overview = lazy(() => import("./pages/overview.tsx"));
const Policies = lazy(() => import("./pages/policies.tsx"));
const PolicyNew = lazy(() => import("./pages/policy-new.tsx"));
const PolicyPage = lazy(() => import("./pages/policy.tsx"));
const Sets = lazy(() => import("./pages/sets.tsx"));
const SetPage = lazy(() => import("./pages/set.tsx"));
const Simulate = lazy(() => import("./pages/simulate.tsx"));
const Activate = lazy(() => import("./pages/activate.tsx"));
const Audit = lazy(() => import("./pages/audit.tsx"));
const Request = lazy(() => import("./pages/request.tsx"));
const Fleet = lazy(() => import("./pages/fleet.tsx"));
const Tokens = lazy(() => import("./pages/tokens.tsx"));
const Keys = lazy(() => import("./pages/keys.tsx"));
const AdminAudit = lazy(() => import("./pages/admin-audit.tsx"));

/** Pages of a zone, in the order of the workflow. */
export const places = [
  { path: "", name: "Overview" }, { path: "/policies", name: "Policies" }, { path: "/sets", name: "Policy sets" },
  { path: "/simulate", name: "Simulate" }, { path: "/activate", name: "Activate" }, { path: "/audit", name: "Audit" },
  { path: "/fleet", name: "Fleet" }, { path: "/tokens", name: "Tokens" }, { path: "/keys", name: "Keys" }, { path: "/admin-audit", name: "Admin audit" },
] as const;

export function App() {
  const who = useQuery({ queryKey: ["who"], queryFn: async ({ signal }) => { await exchanged; return api.tokens.whoAmI({ signal }); }, refetchInterval: 30_000 });
  if (isSignedOut(who.error)) return <SignIn />;
  if (!who.data) return <main className="signin">{who.error ? <Problem error={who.error} retry={() => void who.refetch()} /> : <Loading what="who is signed in" />}</main>;
  return (
    <Switch>
      <Route path="/z/:zone/*?"><InZone name={who.data.name} away={who.isRefetchError} /></Route>
      <Route path="/"><First /></Route>
      <Route path="/zones"><main className="signin"><Zones /></main></Route>
      <Route><Redirect to="/" replace /></Route>
    </Switch>
  );
}

function useZones() {
  return useQuery({ queryKey: ["zones"], queryFn: ({ signal }) => api.zones.list({}, { signal }) });
}

/** The first page leads to a zone: the only one, or the one to be chosen. */
function First() {
  const zones = useZones();
  const only = zones.data?.length === 1 ? zones.data[0] : undefined;
  if (only) return <Redirect to={`/z/${only.id}`} replace />;
  if (zones.data) return <main className="signin"><Zones /></main>;
  return <main className="signin">{zones.error ? <Problem error={zones.error} retry={() => void zones.refetch()} /> : <Loading what="zones" />}</main>;
}

function InZone({ name, away }: { name: string; away: boolean }) {
  const { zone = "" } = useParams<{ zone: string }>();
  const [location, go] = useLocation();
  const zones = useZones();
  const queries = useQueryClient();
  const [open, setOpen] = useState(false);
  const [menu, setMenu] = useState(false);
  const [chosen, choose] = useState<Theme>(theme);
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); setOpen((was) => !was); }
    };
    window.addEventListener("keydown", keys);
    return () => window.removeEventListener("keydown", keys);
  }, []);
  useEffect(() => setMenu(false), [location]);
  const base = `/z/${zone}`;
  const next: Theme = chosen === "system" ? "dark" : chosen === "dark" ? "light" : "system";
  return (
    <ZoneContext value={zone}>
      <a className="skip" href="#main" onClick={(e) => { e.preventDefault(); main.current?.focus(); }}>Skip to the page</a>
      <header className="top">
        <button type="button" className="burger" aria-expanded={menu} aria-controls="nav" onClick={() => setMenu(!menu)}>Menu</button>
        <Link href={base} className="brand">Caracal</Link>
        <select aria-label="Zone" value={zone} onChange={(e) => go(e.target.value === "+" ? "/zones" : `/z/${e.target.value}`)}>
          {zones.data?.map((z) => <option key={z.id} value={z.id}>{z.name}</option>)}
          {zones.data?.every((z) => z.id !== zone) && <option value={zone}>{zone}</option>}
          <option value="+">All zones…</option>
        </select>
        <span className="grow" />
        <button type="button" onClick={() => setOpen(true)} aria-keyshortcuts="Control+K">Find <kbd>Ctrl K</kbd></button>
        <button type="button" onClick={() => { applyTheme(next); choose(next); }} aria-label={`Colours: ${chosen}; change to ${next}`}>{chosen === "dark" ? "☾" : chosen === "light" ? "☀" : "◐"}</button>
        <button type="button" title={`Signed in as ${name}`} onClick={() => void signOut().then(() => queries.invalidateQueries())}>Sign out</button>
      </header>
      {away && <div className="away" role="status">The control plane does not answer. What you see may be old; the console goes on by itself once it is back.</div>}
      <div className="frame">
        <nav id="nav" aria-label="Pages" data-open={menu}>
          {places.map((p) => {
            const here = p.path === "" ? location === base : location.startsWith(base + p.path);
            return <Link key={p.path} href={base + p.path} aria-current={here ? "page" : undefined}>{p.name}</Link>;
          })}
        </nav>
        <main id="main" ref={main} tabIndex={-1}>
          <Suspense fallback={<Loading what="the page" />}>
            <Switch>
              <Route path="/z/:zone"><Overview /></Route>
              <Route path="/z/:zone/policies"><Policies /></Route>
              <Route path="/z/:zone/policies/new"><PolicyNew /></Route>
              <Route path="/z/:zone/policies/:policy">{({ policy }) => <PolicyPage key={policy} id={policy} />}</Route>
              <Route path="/z/:zone/sets"><Sets /></Route>
              <Route path="/z/:zone/sets/:set">{({ set }) => <SetPage key={set} id={set} />}</Route>
              <Route path="/z/:zone/simulate"><Simulate /></Route>
              <Route path="/z/:zone/activate"><Activate /></Route>
              <Route path="/z/:zone/audit"><Audit /></Route>
              <Route path="/z/:zone/audit/:request">{({ request }) => <Request key={request} id={decodeURIComponent(request)} />}</Route>
              <Route path="/z/:zone/fleet"><Fleet /></Route>
              <Route path="/z/:zone/tokens"><Tokens /></Route>
              <Route path="/z/:zone/keys"><Keys /></Route>
              <Route path="/z/:zone/admin-audit"><AdminAudit /></Route>
              <Route><h1>There is nothing here</h1><p>The address may be mistyped. <Link href={base}>Go to the overview</Link></p></Route>
            </Switch>
          </Suspense>
        </main>
      </div>
      <Palette open={open} onClose={() => setOpen(false)} />
    </ZoneContext>
  );
}
