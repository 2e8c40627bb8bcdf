// The frame around every page: who is signed in, the zone, the way between pages.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Component, Fragment, lazy, type ReactNode, Suspense, useContext, useEffect, useRef, useState } from "react";
import { Link, Redirect, Route, Switch, useLocation, useParams } from "wouter";
import { api, isSignedOut, signOut } from "./api.ts";
import { Palette } from "./palette.tsx";
import { exchanged, SignIn } from "./signin.tsx";
import { applyTheme, type Theme, theme } from "./theme.ts";
import { Brand, Icon, Loading, Problem } from "./ui.tsx";
import { useActive, useSets, useSetVersion, ZoneContext } from "./zone.ts";
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
  { path: "", name: "Overview", icon: "overview", part: "" },
  { path: "/policies", name: "Policies", icon: "policies", part: "Write" }, { path: "/sets", name: "Policy sets", icon: "sets", part: "Write" }, { path: "/simulate", name: "Simulate", icon: "simulate", part: "Write" },
  { path: "/activate", name: "Activate", icon: "activate", part: "Run" }, { path: "/audit", name: "Audit", icon: "audit", part: "Run" }, { path: "/fleet", name: "Fleet", icon: "fleet", part: "Run" },
  { path: "/tokens", name: "Tokens", icon: "tokens", part: "Administer" }, { path: "/keys", name: "Keys", icon: "keys", part: "Administer" }, { path: "/admin-audit", name: "Admin audit", icon: "adminAudit", part: "Administer" },
] as const;
const parts = ["", "Write", "Run", "Administer"] as const;

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
      <Route path="/zones"><AllZones name={who.data.name} /></Route>
      <Route><Redirect to="/" replace /></Route>
    </Switch>
  );
}

function SignOut() {
  const queries = useQueryClient();
  return <button type="button" onClick={() => void signOut().then(() => queries.invalidateQueries())}>Sign out</button>;
}

function AllZones({ name }: { name: string }) {
  return (
    <>
      <header className="top"><Link href="/" className="brand" aria-label="Caracal"><Brand /></Link><span className="grow" /><span className="muted small">{name}</span><SignOut /></header>
      <main className="alone"><Zones /></main>
    </>
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
  if (zones.data) return <Redirect to="/zones" replace />;
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

/** What governs the zone, wherever one is. */
function Governs() {
  const zone = useContext(ZoneContext);
  const active = useActive();
  const sets = useSets();
  const version = useSetVersion(active.data?.policy_set_id, active.data?.policy_set_version_id);
  if (!active.data) return null;
  if (!active.data.policy_set_version_id) return <Link className="governs" href={`/z/${zone}/activate`}><i className="dot warn" />Nothing is active</Link>;
  const set = sets.data?.find((s) => s.id === active.data.policy_set_id)?.name;
  return <Link className="governs" href={`/z/${zone}/sets/${active.data.policy_set_id}`}><i className="dot good" />{set ?? "…"} {version.data ? `version ${version.data.version}` : ""}</Link>;
}

function InZone({ name, away }: { name: string; away: boolean }) {
  const { zone = "" } = useParams<{ zone: string }>();
  const [location, go] = useLocation();
  const zones = useZones();
  const [open, setOpen] = useState(false);
  const [menu, setMenu] = useState(false);
  const [chosen, choose] = useState<Theme>(theme);
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      const writing = event.target instanceof HTMLElement && (event.target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName));
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); setOpen((was) => !was); }
      if (event.key === "/" && !writing && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); setOpen(true); }
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
        <button type="button" className="burger" aria-expanded={menu} aria-controls="nav" aria-label="Menu" onClick={() => setMenu(!menu)}><Icon name="menu" /></button>
        <Link href={base} className="brand" aria-label="Caracal"><Brand /></Link>
        <select aria-label="Zone" value={zone} onChange={(e) => go(e.target.value === "+" ? "/zones" : `/z/${e.target.value}`)}>
          {zones.data?.map((z) => <option key={z.id} value={z.id}>{z.name}</option>)}
          {zones.data?.every((z) => z.id !== zone) && <option value={zone}>{zone}</option>}
          <option value="+">All zones…</option>
        </select>
        <Governs />
        <span className="grow" />
        <button type="button" className="find" onClick={() => setOpen(true)} aria-keyshortcuts="Control+K /"><span><Icon name="find" /><b>Find anything</b></span><kbd aria-hidden="true">Ctrl K</kbd></button>
      </header>
      {away && <div className="away" role="status">The control plane does not answer. What you see may be old; the console goes on by itself once it is back.</div>}
      <div className="frame">
        <nav id="nav" aria-label="Pages" data-open={menu}>
          {parts.map((part) => (
            <Fragment key={part}>
              {part && <h2>{part}</h2>}
              {places.filter((p) => p.part === part).map((p) => {
                const here = p.path === "" ? location === base : location === base + p.path || location.startsWith(`${base + p.path}/`);
                return <Link key={p.path} href={base + p.path} aria-current={here ? "page" : undefined}><Icon name={p.icon} />{p.name}</Link>;
              })}
            </Fragment>
          ))}
          <div className="who">
            <p><span className="muted">Signed in as</span> {name}</p>
            <SignOut />
            <button type="button" onClick={() => { applyTheme(next); choose(next); }} aria-label={`Colours: ${chosen}; change to ${next}`} title={`Colours: ${chosen}`}><Icon name={chosen} /></button>
          </div>
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
