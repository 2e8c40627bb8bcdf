// The pieces that pages are made of.
import { Dialog } from "@base-ui/react/dialog";
import { type ReactNode, useEffect, useId, useState } from "react";
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
      {children}
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

/** Copies a text, and says so. */
export function Copy({ text, what, children }: { text: string; what: string; children?: ReactNode }) {
  const [done, setDone] = useState(false);
  return (
    <button type="button" className="copy" title={text}
      onClick={() => void navigator.clipboard.writeText(text).then(() => { setDone(true); setTimeout(() => setDone(false), 1500); })}>
      {children}<span className="unseen">{done ? `, ${what} copied` : `, copy ${what}`}</span><span aria-hidden="true">{done ? "✓" : "⧉"}</span>
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
