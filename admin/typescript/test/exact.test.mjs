// Numbers that JavaScript does not have survive the way from the audit to a simulation.
import assert from "node:assert/strict";
import { test } from "node:test";

import { parseExactly, stringifyExactly } from "@caracalai/admin";

import { input, startDev, until } from "./dev.mjs";

const dev = await startDev();
const { admin, zone } = dev;

test("what is parsed is written as it was", () => {
  for (const text of [
    "{}",
    "[]",
    '{"a":1,"b":[true,null,"x\\"1\\\\"],"c":-0.5}',
    '{"a":12345678901234567890}',
    '{"a":{"b":[1,9007199254740993,{"c":-0.12345678901234567890123}]},"d":"12345678901234567890"}',
    "[1e400,-1e400,123456789.000000000000001]",
    '{"12345678901234567890":12345678901234567891}',
    '{"__proto__":{"x":12345678901234567890}}',
  ]) {
    assert.equal(stringifyExactly(parseExactly(text)), text);
    assert.deepEqual(parseExactly(text), JSON.parse(text));
  }
  // Other ways to write what JavaScript has come to the same.
  assert.equal(stringifyExactly(parseExactly("[1.0,1E2,0.10,-0,100e-2,1e21]")), "[1,100,0.1,0,1,1e+21]");
  assert.equal(stringifyExactly(parseExactly('{"a":12345678901234567890}'), 1), '{\n "a": 12345678901234567890\n}');
  assert.throws(() => parseExactly("{"), SyntaxError);
});

test("what was changed since is written as it is now", () => {
  const value = /** @type {any} */ (parseExactly('{"a":12345678901234567890,"b":{"c":98765432109876543210},"d":[]}'));
  value.a = 1;
  assert.equal(stringifyExactly(value), '{"a":1,"b":{"c":98765432109876543210},"d":[]}');
  value.d.push(value.b);
  delete value.b;
  assert.equal(stringifyExactly({ inputs: [value] }), '{"inputs":[{"a":1,"d":[{"c":98765432109876543210}]}]}');
});

test("a denial that hangs on a digit is denied again when it is simulated", async () => {
  const content = `package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

# As JavaScript rounds it, the account is another.
result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	input.context.subject_claims.account == 12345678901234567000
	count(input.context.requested_scopes) > 0
}
`;
  const policy = await admin.policies.create(zone, { name: "digits", content });
  const set = await admin.policySets.create(zone, "digits");
  const version = await admin.policySets.addVersion(zone, set.id, [{ policy_version_id: policy.version.id }]);
  await admin.policySets.activate(zone, set.id, version.id);
  await admin.policySets.waitUntilLoaded(zone, set.id, version.id);
  const asked = input(zone, "read");
  const body = JSON.stringify({ ...asked, context: { ...asked.context, subject_claims: { account: "ACCOUNT" } } }).replace('"ACCOUNT"', "12345678901234567001");
  const response = await fetch(`${dev.decideUrl}/v1/decide`, { method: "POST", body, headers: { "X-Request-Id": "digits" } });
  assert.equal(/** @type {any} */ (await response.json()).decision, "deny");
  const trace = await until("the audit has it", () => admin.audit.explain(zone, "digits").catch(() => undefined));
  const denied = trace.denied[0]?.policy_input;
  assert.match(stringifyExactly(denied), /"account":12345678901234567001/);
  assert.equal((await admin.policySets.simulate(zone, set.id, version.id, denied)).result?.decision, "deny");
  assert.deepEqual((await admin.policySets.simulateAll(zone, set.id, version.id, [denied, denied])).results?.map((r) => r.result?.decision), ["deny", "deny"]);
  // The test could fail: rounded, it is allowed.
  assert.equal((await admin.policySets.simulate(zone, set.id, version.id, JSON.parse(JSON.stringify(denied)))).result?.decision, "allow");
});
