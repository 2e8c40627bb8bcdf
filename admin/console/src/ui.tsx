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
};

/** A sign beside a text that says the same, or on a button that has a name. */
export function Icon({ name }: { name: keyof typeof shapes }) {
  return <svg className="icon" viewBox="0 0 16 16" width="15" height="15" fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">{shapes[name]}</svg>;
}

/** Copies a text, and says so. */
export function Copy({ text, what, children }: { text: string; what: string; children?: ReactNode }) {
  const [done, setDone] = useState(false);
  return (
    <button type="button" className="copy" title={text}
      onClick={() => void navigator.clipboard.writeText(text).then(() => { setDone(true); setTimeout(() => setDone(false), 1500); })}>
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
    <div className="cli"><span className="muted">Command line</span>
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
