// Writes a policy, composes a set of it, simulates it, activates it, and asks the
// daemon. It can be run again.
//
//   caracal dev --data-dir dev-data        # in another terminal
//   . dev-data/env
//   node examples/activate/activate.mjs
import { admin, decide, example, expect, input, policySet, publish, zone } from "./caracal.mjs";

const versionId = await publish("payments", await example("payments/policies/payments.rego"));
console.log(`policy version  ${versionId}`);

const set = await policySet("payments");
const version = await admin.policySets.addVersion(zone, set.id, [{ policy_version_id: versionId }]);
console.log(`set version     ${version.id} (number ${version.version}, manifest ${version.manifest_sha256.slice(0, 12)})`);

const read = await input("read");
const simulation = await admin.policySets.simulate(zone, set.id, version.id, read);
console.log(`simulation      ${simulation.result?.decision}: ${simulation.explanation.reason}`);
expect(simulation.would_activate, `the simulation speaks against the version: ${simulation.explanation.reason}`);
expect(simulation.result?.decision === "allow", "reading should be allowed");

const activated = await admin.policySets.activate(zone, set.id, version.id, { reason: "the activate example" });
const status = await admin.policySets.waitUntilLoaded(zone, set.id, version.id, { outboxId: activated.outbox_id });
console.log(`activated       sequence ${activated.sequence}, ${status.propagation_status} by ${status.daemons.loaded} of ${status.daemons.total} daemons`);

const decision = await decide(read);
console.log(`decision        ${decision.decision} by set version ${decision.policy_set_version_id}`);
expect(decision.decision === "allow" && decision.policy_set_version_id === version.id, "the daemon should allow it by the new version");
