// Fixes a denial: a real one is explained from the audit, its very input is
// simulated against a candidate beside cases that must not change, and the
// candidate is activated. It can be run again.
//
//   . dev-data/env
//   node examples/activate/iterate.mjs
import { admin, decide, example, expect, explain, input, policySet, publish, zone } from "./caracal.mjs";

// Refunds need step-up.
const set = await policySet("payments");
const grants = { policy_version_id: await publish("payments", await example("payments/policies/payments.rego")) };
const strict = { policy_version_id: await publish("step-up", await example("payments/policies/step_up.rego")) };
const before = await admin.policySets.addVersion(zone, set.id, [grants, strict]);
const first = await admin.policySets.activate(zone, set.id, before.id, { reason: "iterate: the strict policy" });
await admin.policySets.waitUntilLoaded(zone, set.id, before.id, { outboxId: first.outbox_id });

// An agent is denied.
const refund = await input("refund");
const denial = await decide(refund);
console.log(`denied          request ${denial.request_id}: ${denial.diagnostics.map((d) => d.reason).join(", ")}`);
expect(denial.decision === "deny", "the refund should be denied");

// The audit has the input that was evaluated.
const trace = await explain(denial.request_id);
const denied = trace.denied[0]?.policy_input;
expect(denied, "the audit should have the denied input");
const again = await admin.policySets.simulate(zone, set.id, before.id, denied);
console.log(`explained       ${again.explanation.reason}`);
expect(again.result?.decision === "deny", "the same input should be denied by the same version");

// A candidate exempts managed agents of operators.
const lenient = { policy_version_id: await publish("step-up", await example("iterate/policies/step_up.rego")) };
const candidate = await admin.policySets.addVersion(zone, set.id, [grants, lenient]);
const fixed = await admin.policySets.simulate(zone, set.id, candidate.id, denied, { expectedDecision: "allow" });
console.log(`candidate       ${fixed.result?.decision}: ${fixed.explanation.reason}`);
expect(fixed.would_activate, `the candidate does not fix it: ${fixed.explanation.reason}`);

// What must not change does not.
const same = { read: "allow", "refund-confirmed": "allow", "refund-reader": "deny" };
const cases = await admin.policySets.simulateAll(zone, set.id, candidate.id, await Promise.all(Object.keys(same).map(input)));
for (const [i, [name, decision]] of Object.entries(same).entries()) {
  const got = cases.results?.[i]?.result?.decision;
  console.log(`still           ${name}: ${got}`);
  expect(got === decision, `${name} should be ${decision}`);
}

// It is activated, if nobody activated something else meanwhile.
const activated = await admin.policySets.activate(zone, set.id, candidate.id, {
  expectedActiveVersionId: before.id,
  reason: `fixes the denial of request ${denial.request_id}`,
});
await admin.policySets.waitUntilLoaded(zone, set.id, candidate.id, { outboxId: activated.outbox_id });
const now = await decide(refund);
console.log(`now             ${now.decision} by set version ${now.policy_set_version_id}`);
expect(now.decision === "allow" && now.policy_set_version_id === candidate.id, "the same input should be allowed by the candidate");
