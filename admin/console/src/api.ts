// The client of the control plane that served this page. The session's cookie
// signs its calls in; the header tells the control plane that the console made them.
import { AdminApiError, AdminClient, AdminConnectionError } from "@caracalai/admin";

const headers = { "X-Caracal-Console": "1" };

export const api = new AdminClient({ apiUrl: window.location.origin, adminToken: "", headers, retries: 1 });

/** Exchanges a one-time code or a token for the session's cookie. Rejects with what went wrong, for people. */
export async function signIn(by: { code: string } | { token: string }): Promise<void> {
  const answer = await fetch("/console/session", {
    method: "POST", credentials: "same-origin", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(by),
  });
  if (!answer.ok) {
    const body = (await answer.json().catch(() => ({}))) as { error_description?: string };
    throw new Error(body.error_description ?? `the control plane answered ${answer.status}`);
  }
}

/** Ends the session, here and at the control plane. */
export async function signOut(): Promise<void> {
  await fetch("/console/session", { method: "DELETE", credentials: "same-origin", headers });
}

/** Tells whether an error means that nobody is signed in. */
export function isSignedOut(error: unknown): boolean {
  return error instanceof AdminApiError && error.status === 401;
}

/** What went wrong and what to do about it, for people. */
export function explained(error: unknown): { title: string; detail: string; todo: string } {
  if (error instanceof AdminConnectionError) {
    return { title: "The control plane does not answer", detail: error.message, todo: "Check that it runs; the console goes on by itself once it is back. Daemons decide meanwhile with what they have loaded." };
  }
  if (error instanceof AdminApiError) {
    const detail = error.description || error.message;
    return { title: error.code.replaceAll("_", " "), detail, todo: todoOf(error) };
  }
  return { title: "Something went wrong", detail: error instanceof Error ? error.message : String(error), todo: "Try again; reload the page if it stays." };
}

function todoOf(error: AdminApiError): string {
  switch (error.code) {
    case "unauthorized": return "Run `caracal web` for a new link, or sign in with a token.";
    case "forbidden": return "Sign in with a token that has this role and reaches this zone.";
    case "policy_name_conflict":
    case "policy_set_name_conflict": return "Choose another name, or add a version to the one that has it.";
    case "invalid_rego": return "Correct the marked lines; nothing was kept.";
    case "invalid_policy_bundle": return "Change one of the policies named, so that they hold together, and compose again.";
    case "invalid_policy_contract": return "Pick each policy once, in one of its versions.";
    case "active_version_changed": return "Somebody activated another version meanwhile. Compare with it, and then activate again.";
    case "request_not_found": return "Daemons send their records in batches: wait a moment and try again, or check the id.";
  }
  if (error.status === 404) return "It may have been archived; go back to the list.";
  if (error.status >= 500) return `The control plane's log has the cause${error.requestId ? ` under request ${error.requestId}` : ""}.`;
  return "Correct what is named and try again.";
}
