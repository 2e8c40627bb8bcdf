// What compiles and what does not. The compiler reads this file; it never runs.
import { AdminApiError, AdminClient, type AuditEvent, type Page, type PolicySetVersion, type RuleTrace, type Simulation, type TailEvent } from "@caracalai/admin";

/** Tells that two types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function same<A, B>(...proof: Same<A, B> extends true ? [] : [never]): void;

declare const admin: AdminClient;

export async function answers(): Promise<void> {
  const policy = await admin.policies.create("z", { name: "n", content: "c" });
  same<typeof policy.version.id, string>();
  same<Awaited<ReturnType<typeof admin.policySets.listVersions>>, PolicySetVersion[]>();
  same<Awaited<ReturnType<typeof admin.audit.page>>, Page<AuditEvent>>();
  same<Awaited<ReturnType<typeof admin.policies.delete>>, void>();
  const simulation: Simulation = await admin.policySets.simulate("z", "s", "v", { any: "input" });
  same<typeof simulation.would_activate, boolean>();
  // @ts-expect-error: without an input there is no result
  simulation.result.decision;
  simulation.result?.decision;
  const traced = await admin.policySets.simulate("z", "s", "v", {}, { trace: true });
  same<Exclude<typeof traced.trace, undefined | null>["rules"], RuleTrace[]>();
  const report = await admin.policies.test({ content: "c", tests: "t" });
  same<(typeof report.results)[number]["outcome"], "pass" | "fail" | "error" | "skip">();
  const trace = await admin.audit.explain("z", "r");
  await admin.policySets.simulate("z", "s", "v", trace.denied[0]?.policy_input);
  for await (const event of admin.audit.tail("z", { decision: "deny", lastEventId: "7" })) {
    same<typeof event, TailEvent>();
  }
  const active = await admin.zones.active("z");
  same<typeof active.policy_set_version_id, string | null>();
}

export function questions(): void {
  void admin.audit.list("z", { decision: "allow", since: "2026-01-01T00:00:00Z", limit: 10 });
  // @ts-expect-error: there is no such decision
  void admin.audit.list("z", { decision: "maybe" });
  // @ts-expect-error: the filters are written as on the wire
  void admin.audit.list("z", { requestId: "r" });
  // @ts-expect-error: the format is the export's
  void admin.audit.list("z", { format: "csv" });
  // @ts-expect-error: a trace is of one input
  void admin.policySets.simulateAll("z", "s", "v", [], { trace: true });
  // @ts-expect-error: without tests there is nothing to run
  void admin.policies.test({ content: "c" });
  // @ts-expect-error: a manifest has policy versions
  void admin.policySets.addVersion("z", "s", ["v"]);
  // @ts-expect-error: only what is created takes a key
  void admin.policies.delete("z", "p", { idempotencyKey: "k" });
  void admin.policySets.activate("z", "s", "v", { expectedActiveVersionId: null, idempotencyKey: "k" });
  // @ts-expect-error: a zone is somebody's, or null for everywhere
  void admin.adminAudit.list();
  // @ts-expect-error: a token is needed
  void new AdminClient({ apiUrl: "http://127.0.0.1:3000" });
}

export function refusals(error: unknown): string | undefined {
  return error instanceof AdminApiError && error.status === 422 ? error.errors[0]?.message : undefined;
}
