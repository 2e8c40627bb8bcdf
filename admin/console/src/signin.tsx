// Signing in: by the one-time code in the address, or by a token.
import { useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useEffect, useState } from "react";
import { signIn } from "./api.ts";
import { Brand, Cli, Field } from "./ui.tsx";

/** Takes the code out of the address, before anything else can see it there. */
function takeCode(): string | null {
  const code = new URLSearchParams(window.location.hash.slice(1)).get("code");
  if (code) history.replaceState(null, "", window.location.pathname + window.location.search);
  return code;
}

const code = takeCode();
// A link that is opened where the console is open already changes the fragment alone.
window.addEventListener("hashchange", () => { if (window.location.hash.startsWith("#code=")) window.location.reload(); });
// One exchange for the page's life, however often it is drawn: a code works once.
export const exchanged: Promise<string> = code ? signIn({ code }).then(() => "", (error: unknown) => (error instanceof Error ? error.message : String(error))) : Promise.resolve("");

export function SignIn() {
  const queries = useQueryClient();
  const [token, setToken] = useState("");
  const [reason, setReason] = useState("");
  useEffect(() => { document.title = "Sign in · Caracal"; void exchanged.then(setReason); }, []);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    signIn({ token: token.trim() }).then(
      () => { setToken(""); return queries.invalidateQueries(); },
      (error: unknown) => setReason(error instanceof Error ? error.message : String(error)),
    );
  };
  return (
    <main className="signin">
      <div className="card">
      <h1 className="brand"><Brand /></h1>
      <p>Run <code>caracal web</code> where your token is: it opens this console, signed in.</p>
      <Cli command="caracal web" />
      <form onSubmit={submit}>
        <Field label="Or sign in with a token" hint="It is exchanged for a session cookie and kept nowhere else.">
          {(props) => <input {...props} type="password" autoComplete="off" required value={token} onChange={(e) => setToken(e.target.value)} />}
        </Field>
        <button className="primary" type="submit">Sign in</button>
      </form>
      {reason && <div className="problem" role="alert"><strong>Not signed in</strong><p>{reason}</p></div>}
      </div>
    </main>
  );
}
