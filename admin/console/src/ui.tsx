// The pieces that pages are made of.
import { Dialog } from "@base-ui/react/dialog";
import { type ReactNode, Suspense, useEffect, useId, useState } from "react";
import { explained } from "./api.ts";

/** A page's heading, with its actions beside it. */
export function Page({ title, intro, actions, children }: { title: string; intro?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  useEffect(() => { document.title = `${title} · Caracal`; }, [title]);
  return (
    <>
      <header className="page-head">
        <div><h1>{title}</h1>{intro && <p className="muted">{intro}</p>}</div>
        {actions && <div className="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

export function Card({ title, aside, children }: { title?: string; aside?: ReactNode; children: ReactNode }) {
  const id = useId();
  return (
    <section className="card" aria-labelledby={title ? id : undefined}>
      {title && <div className="card-head"><h2 id={id}>{title}</h2>{aside}</div>}
      <Suspense fallback={<Loading what="this" />}>{children}</Suspense>
    </section>
  );
}

/** What a list says while it is empty: what it would hold, and how to begin. */
export function Empty({ title, children, action }: { title: string; children: ReactNode; action?: ReactNode }) {
  return <div className="empty"><h2>{title}</h2><p>{children}</p>{action}</div>;
}

/** An error: what went wrong, and what to do. */
export function Problem({ error, retry }: { error: unknown; retry?: () => void }) {
  if (!error) return null;
  const { title, detail, todo } = explained(error);
  return (
    <div className="problem" role="alert">
      <strong>{title}</strong><p>{detail}</p><p className="todo">{todo}</p>
      {retry && <button type="button" onClick={retry}>Try again</button>}
    </div>
  );
}

export function Loading({ what }: { what: string }) {
  return <p className="muted" role="status">Reading {what}…</p>;
}

/** The name of the product, with its sign. */
export function Brand() {
  return <><svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true"><rect width="32" height="32" rx="8" fill="currentColor" /><path d="M7 5l6 7h6l6-7-1.5 12L16 27 8.5 17z" fill="var(--card)" /></svg><b>Caracal</b></>;
}

/** A key of an idempotent write; also where the page did not come over TLS. */
export function onceKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

export function Badge({ tone, children }: { tone: "good" | "bad" | "warn" | "plain"; children: ReactNode }) {
  return <span className={`badge ${tone}`}>{children}</span>;
}

export function Decision({ value }: { value: string }) {
  return <Badge tone={value === "allow" ? "good" : value === "deny" ? "bad" : "plain"}>{value || "none"}</Badge>;
}

/** A time: how long ago, with the exact time on it. */
export function Ago({ at }: { at: string | null | undefined }) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => { const timer = setInterval(() => setNow(Date.now()), 15_000); return () => clearInterval(timer); }, []);
  if (!at) return <span className="muted">never</span>;
  const seconds = Math.max(0, Math.round((now - Date.parse(at)) / 1000));
  const text = seconds < 60 ? "just now" : seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : seconds < 86_400 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86_400)} d ago`;
  return <time dateTime={at} title={at}>{text}</time>;
}

const shapes = {
  copy: <><rect x="5.5" y="5.5" width="8" height="8" rx="1.5" /><path d="M10.5 3.2V3A1.5 1.5 0 0 0 9 1.5H4A1.5 1.5 0 0 0 2.5 3v6A1.5 1.5 0 0 0 4 10.5h.2" /></>,
  done: <path d="m3 8.5 3.2 3.2L13 4.8" />,
  dark: <path d="M13 9.8A5.6 5.6 0 0 1 6.2 3a5.6 5.6 0 1 0 6.8 6.8Z" />,
  light: <><circle cx="8" cy="8" r="2.8" /><path d="M8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1" /></>,
  system: <><circle cx="8" cy="8" r="5.5" /><path d="M8 2.5a5.5 5.5 0 0 1 0 11Z" fill="currentColor" /></>,
  find: <><circle cx="7" cy="7" r="4.3" /><path d="m10.3 10.3 3.4 3.4" /></>,
  menu: <path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11" />,
  overview: <path d="M2.5 2.5h4.2v5.2H2.5zM9.3 2.5h4.2v3H9.3zM9.3 8.3h4.2v5.2H9.3zM2.5 10.5h4.2v3H2.5z" />,
  policies: <><path d="M4 1.8h5.2L12.5 5v9.2H4z" /><path d="M6.3 7.2h4M6.3 9.6h4M6.3 12h2.4" /></>,
  sets: <path d="m8 1.8 6 3-6 3-6-3zM2.3 8.1 8 11l5.7-2.9M2.3 11.2 8 14.1l5.7-2.9" />,
  simulate: <path d="M6.2 1.8h3.6M7 1.8v4.4L3 13a.9.9 0 0 0 .8 1.3h8.4A.9.9 0 0 0 13 13L9 6.2V1.8M5 10h6" />,
  activate: <path d="M9 1.5 3.2 9h4.3L6.8 14.5 12.8 7H8.4z" />,
  audit: <path d="M2 4h1M2 8h1M2 12h1M5.5 4H14M5.5 8H14M5.5 12H11" />,
  fleet: <><rect x="2" y="2.5" width="12" height="4.4" rx="1" /><rect x="2" y="9.1" width="12" height="4.4" rx="1" /><path d="M4.6 4.7h.1M4.6 11.3h.1" /></>,
  tokens: <><circle cx="5" cy="11" r="3" /><path d="M7.2 8.8 13.5 2.5M11 5l2 2M9 7l1.4 1.4" /></>,
  keys: <path d="M8 1.6 13 3.4v4c0 3.3-2 5.7-5 7-3-1.3-5-3.7-5-7v-4zM5.8 8l1.600 1.600 3-3.200" />,
  adminAudit: <><circle cx="8" cy="5" r="2.7" /><path d="M2.8 14c.4-3 2.400-4.600 5.200-4.600s4.800 1.600 5.200 4.600" /></>,
};

/** A sign beside a text that says the same, or on a button that has a name. */
export function Icon({ name }: { name: keyof typeof shapes }) {
  return <svg className="icon" viewBox="0 0 16 16" width="15" height="15" fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">{shapes[name]}</svg>;
}

/** Puts a text on the clipboard, also where the page did not come over TLS. */
async function copy(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

/** Copies a text, and says so. */
export function Copy({ text, what, children }: { text: string; what: string; children?: ReactNode }) {
  const [done, setDone] = useState(false);
  return (
    <button type="button" className="copy" title={text}
      onClick={() => void copy(text).then(() => { setDone(true); setTimeout(() => setDone(false), 1500); })}>
      {children}<span className="unseen">{done ? `, ${what} copied` : `, copy ${what}`}</span><Icon name={done ? "done" : "copy"} />
    </button>
  );
}

/** A hash or an id: its beginning, to be copied whole. */
export function Hash({ value, what }: { value: string | null | undefined; what: string }) {
  if (!value) return <span className="muted">none</span>;
  return <Copy text={value} what={what}><code>{value.length > 16 ? `${value.slice(0, 8)}…${value.slice(-4)}` : value}</code></Copy>;
}

/** The command that does the same as what is beside it. */
export function Cli({ command }: { command: string }) {
  return (
    <div className="cli"><span className="prompt" aria-hidden="true">$</span>
      <pre tabIndex={0} aria-label="Equivalent command"><code>{command}</code></pre><Copy text={command} what="command" />
    </div>
  );
}

/** Quotes a word for a POSIX shell. */
export function word(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

export function Field({ label, hint, children }: { label: string; hint?: string; children: (props: { id: string; "aria-describedby"?: string }) => ReactNode }) {
  const id = useId();
  return (
    <div className="field"><label htmlFor={id}>{label}</label>
      {children(hint ? { id, "aria-describedby": `${id}-hint` } : { id })}
      {hint && <small id={`${id}-hint`} className="muted">{hint}</small>}
    </div>
  );
}

export function Modal({ open, onClose, title, children }: { open: boolean; onClose: () => void; title: string; children: ReactNode }) {
  return (
    <Dialog.Root open={open} onOpenChange={(next) => { if (!next) onClose(); }}>
      <Dialog.Portal>
        <Dialog.Backdrop className="backdrop" />
        <Dialog.Popup className="modal"><Dialog.Title>{title}</Dialog.Title>{children}</Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

/** A table that scrolls sideways by itself where the window is narrow. */
export function Table({ label, head, children }: { label: string; head: string[]; children: ReactNode }) {
  return (
    <div className="table" role="region" aria-label={`${label}, table`} tabIndex={0}>
      <table><thead><tr>{head.map((h) => <th key={h} scope="col">{h}</th>)}</tr></thead><tbody>{children}</tbody></table>
    </div>
  );
}

/** JSON for people to read. */
export function Json({ value, label }: { value: unknown; label: string }) {
  return <pre className="json" tabIndex={0} aria-label={label}>{JSON.stringify(value, null, 2)}</pre>;
}
