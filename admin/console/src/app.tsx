// The frame around every page: who is signed in, the zone, the way between pages.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Component, lazy, type ReactNode, Suspense, useEffect, useRef, useState } from "react";
import { Link, Redirect, Route, Switch, useLocation, useParams } from "wouter";
import { api, isSignedOut, signOut } from "./api.ts";
import { Palette } from "./palette.tsx";
import { exchanged, SignIn } from "./signin.tsx";
import { applyTheme, type Theme, theme } from "./theme.ts";
import { Icon, Loading, Problem } from "./ui.tsx";
import { ZoneContext } from "./zone.ts";
import { Zones } from "./pages/zones.tsx";

const pages = {
  overview: () => import("./pages/overview.tsx"), policies: () => import("./pages/policies.tsx"), policyNew: () => import("./pages/policy-new.tsx"),
  policy: () => import("./pages/policy.tsx"), sets: () => import("./pages/sets.tsx"), set: () => import("./pages/set.tsx"),
  simulate: () => import("./pages/simulate.tsx"), activate: () => import("./pages/activate.tsx"), audit: () => import("./pages/audit.tsx"),
  request: () => import("./pages/request.tsx"), fleet: () => import("./pages/fleet.tsx"), tokens: () => import("./pages/tokens.tsx"),
  keys: () => import("./pages/keys.tsx"), adminAudit: () => import("./pages/admin-audit.tsx"),
};
const Overview = lazy(pages.overview), Policies = lazy(pages.policies), PolicyNew = lazy(pages.policyNew), PolicyPage = lazy(pages.policy);
const Sets = lazy(pages.sets), SetPage = lazy(pages.set), Simulate = lazy(pages.simulate), Activate = lazy(pages.activate);
const Audit = lazy(pages.audit), Request = lazy(pages.request), Fleet = lazy(pages.fleet), Tokens = lazy(pages.tokens);
const Keys = lazy(pages.keys), AdminAudit = lazy(pages.adminAudit);

/** Pages of a zone, in the order of the workflow. */
export const places = [
  { path: "", name: "Overview" }, { path: "/policies", name: "Policies" }, { path: "/sets", name: "Policy sets" },
  { path: "/simulate", name: "Simulate" }, { path: "/activate", name: "Activate" }, { path: "/audit", name: "Audit" },
  { path: "/fleet", name: "Fleet" }, { path: "/tokens", name: "Tokens" }, { path: "/keys", name: "Keys" }, { path: "/admin-audit", name: "Admin audit" },
] as const;

export function App() {
  const who = useQuery({ queryKey: ["who"], queryFn: async ({ signal }) => { await exchanged; return api.tokens.whoAmI({ signal }); },
    // Asking again while nobody is signed in would take the sign-in page away from who is typing.
    refetchInterval: (q) => (q.state.data ? 5_000 : false), refetchOnWindowFocus: (q) => !!q.state.data, refetchOnReconnect: (q) => !!q.state.data });
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

/**
 * What is shown where a page could not be loaded or drawn: the control plane may
 * be away, or be another version since. Once it answers, the page is loaded anew.
 */
class Guard extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: undefined as unknown };
  private timer: ReturnType<typeof setInterval> | undefined;
  static getDerivedStateFromError(error: unknown) { return { error }; }
  override componentDidCatch() {
    this.timer ??= setInterval(() => void fetch("/healthz").then((r) => { if (r.ok) window.location.reload(); }, () => undefined), 3_000);
  }
  override componentWillUnmount() { clearInterval(this.timer); }
  override render() {
    if (this.state.error === undefined) return this.props.children;
    return <Problem error={this.state.error} retry={() => window.location.reload()} />;
  }
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
  // The pages are small: having them all lets people go between them while the control plane is away.
  useEffect(() => { for (const load of Object.values(pages)) load().catch(() => undefined); }, []);
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
        <button type="button" onClick={() => { applyTheme(next); choose(next); }} aria-label={`Colours: ${chosen}; change to ${next}`}><Icon name={chosen} /></button>
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
          <Guard key={location}><Suspense fallback={<Loading what="the page" />}>
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
          </Suspense></Guard>
        </main>
      </div>
      <Palette open={open} onClose={() => setOpen(false)} />
    </ZoneContext>
  );
}
