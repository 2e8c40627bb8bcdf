// Inputs to begin with, of the current schema.
const principal = (zone: string) => ({ type: "agent", id: "agent-reconciler", zone_id: zone, registration_method: "managed", lifecycle: "task", labels: ["role:operator"] });
const resource = { type: "service", id: "res-ledger", identifier: "urn:payments:ledger", scopes: ["payments:read", "payments:refund"] };
const action = { id: "token:exchange", method: "POST", path: "/oauth/token" };

/** Inputs by what they ask for, in a zone. */
export function templates(zone: string): { id: string; name: string; input: unknown }[] {
  const input = (scope: string, resolved: boolean) => ({
    schema_version: "2026-05-20", principal: principal(zone), resource, action, session: { id: "session-7" }, delegation_edge: null,
    context: { actor_claims: { iss: "https://sts.example" }, challenge_resolved: resolved, requested_scopes: [scope] },
  });
  return [
    { id: "read", name: "An agent reads", input: input("payments:read", false) },
    { id: "write", name: "An agent refunds, no step-up", input: input("payments:refund", false) },
    { id: "confirmed", name: "An agent refunds after a step-up", input: input("payments:refund", true) },
  ];
}
