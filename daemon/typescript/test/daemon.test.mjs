// Against a real daemon, which the Go test that runs this has started. It names
// where in the environment, and stops and starts the daemon when asked.
import assert from "node:assert/strict";
import { after, test } from "node:test";

import { DecideClient, DecideError } from "../dist/index.js";

const { DECIDE_URL, DECIDE_SOCKET, DECIDE_ZONE, DECIDE_TOKEN, DECIDE_CONTROL, DECIDE_VERSION, DECIDE_BUNDLE } = process.env;
const ways = { TCP: { url: DECIDE_URL, token: DECIDE_TOKEN }, socket: { url: `unix://${DECIDE_SOCKET}` } };

const clients = [];
after(() => clients.forEach((c) => c.close()));
function client(options) {
  const c = new DecideClient({ timeoutMs: 10_000, ...options });
  clients.push(c);
  return c;
}

/** @returns {import("../dist/index.js").Input} */
const asks = (scope, zone = DECIDE_ZONE) => ({
  principal: { type: "agent", id: "agent-1", zone_id: zone, lifecycle: "task" },
  resource: { type: "service", id: "res-1", identifier: "urn:res-1", scopes: [] },
  action: { id: "token:exchange" },
  context: { actor_claims: {}, challenge_resolved: false, requested_scopes: [scope] },
});

async function control(what) {
  const resp = await fetch(`${DECIDE_CONTROL}/${what}`, { method: "POST" });
  assert.equal(resp.status, 200, await resp.text());
}

async function recorded(requestId) {
  const resp = await fetch(`${DECIDE_CONTROL}/recorded?request=${requestId}`, { method: "POST" });
  assert.equal(resp.status, 200);
  return await resp.json();
}

for (const [name, way] of Object.entries(ways)) {
  test(`${name}: allow, deny, and who decided`, async () => {
    const c = client({ ...way, inject: (h) => Object.assign(h, { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Authorization: "no", "x-bad": "a\r\nb" }) });
    await c.ready();
    const requestId = `ts-${name}`;
    const d = await c.decide(asks("read"), { requestId });
    assert.equal(d.allowed, true);
    assert.equal(d.decision, "allow");
    assert.equal(d.request_id, requestId);
    assert.equal(d.zone_id, DECIDE_ZONE);
    assert.equal(d.policy_set_version_id, DECIDE_VERSION);
    assert.equal(d.bundle_sha256, DECIDE_BUNDLE);
    assert.equal(d.determining_policies[0].policy, "grants");
    const events = await recorded(requestId);
    assert.equal(events.length, 1);
    assert.equal(events[0].id, d.decision_id);
    assert.equal(events[0].metadata_json.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");

    const denied = await c.decide(asks("write"));
    assert.equal(denied.allowed, false);
    assert.equal(denied.diagnostics[0].reason, "not_granted");
    const elsewhere = await c.decide(asks("read", "another-zone"));
    assert.equal(elsewhere.allowed, false);
    assert.equal(elsewhere.evaluation_status, "error");
    assert.equal(elsewhere.policy_set_version_id, null);
    assert.equal((await c.decide(JSON.stringify({ schema_version: "2026-05-20", ...asks("read") }))).allowed, true);
  });

  test(`${name}: a batch`, async () => {
    const c = client(way);
    const bad = asks("read");
    bad.principal.lifecycle = "forever";
    const list = await c.decideBatch([asks("read"), asks("write"), bad, asks("read", "another-zone"), JSON.stringify({ schema_version: "2026-05-20", ...asks("read") })]);
    assert.deepEqual(list.map((o) => o.decision.allowed), [true, false, false, false, true]);
    assert.deepEqual(list.map((o) => o.error?.kind), [undefined, undefined, "invalid_input", undefined, undefined]);
    assert.match(list[2].error.message, /lifecycle/);
    assert.deepEqual(await c.decideBatch([]), []);
  });

  test(`${name}: refusals`, async () => {
    const c = client(way);
    const bad = asks("read");
    delete bad.context.requested_scopes;
    await assert.rejects(c.decide(bad), (e) => e instanceof DecideError && e.kind === "invalid_input" && e.status === 400 && e.code === "invalid_input" && e.allowed === false && e.requestId !== undefined);
    for (const input of ["", "{", "[]", "null", "{}", '{"principal":{"zone_id":7}}', '{"principal":{"zone_id":"a","zone_id":"b"}}', '{"principal":{"zone_id":"a"},"principal":{}}', { context: 1n }, null]) {
      await assert.rejects(c.decide(input), (e) => e instanceof DecideError && e.kind === "invalid_input" && e.status === undefined, String(input));
      await assert.rejects(c.decideBatch([asks("read"), input]), { kind: "invalid_input" });
    }
    for (const requestId of ["", "a b", "a\r\nb", "x".repeat(129)]) await assert.rejects(c.decide(asks("read"), { requestId }), { kind: "invalid_input" });
    await assert.rejects(c.decideBatch(Array(1001).fill(asks("read"))), { kind: "invalid_input", status: 413 });
  });

  test(`${name}: many at once share few connections`, async () => {
    const c = client({ ...way, maxConnections: 4 });
    const all = await Promise.all(Array.from({ length: 200 }, async (_, i) => ({ i, d: await c.decide(asks(i % 2 ? "read" : "write"), { requestId: `many-${name}-${i}` }) })));
    for (const { i, d } of all) {
      assert.equal(d.allowed, i % 2 === 1);
      assert.equal(d.request_id, `many-${name}-${i}`);
    }
  });

  test(`${name}: the daemon goes and comes back`, async () => {
    const c = client(way);
    const all = () => Promise.all(Array.from({ length: 8 }, () => c.decide(asks("read"))));
    await all();
    await control("restart"); // every kept connection is stale now
    for (const d of await all()) assert.equal(d.allowed, true);
    await control("stop");
    try {
      await assert.rejects(c.decide(asks("read")), (e) => e.kind === "unavailable" && e.status === undefined && e.allowed === false);
      await assert.rejects(c.decideBatch([asks("read")]), { kind: "unavailable" });
      await assert.rejects(c.ready(), { kind: "unavailable" });
    } finally {
      await control("start");
    }
    for (const d of await all()) assert.equal(d.allowed, true);
  });
}

test("a wrong token", async () => {
  for (const token of [undefined, "another-token-than-that"]) {
    await assert.rejects(client({ url: DECIDE_URL, ...(token && { token }) }).decide(asks("read")), (e) => e.kind === "unauthorized" && e.status === 401 && e.code === "unauthorized");
  }
});
