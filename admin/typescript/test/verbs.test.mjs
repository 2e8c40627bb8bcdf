// Every verb against a real control plane and daemon, and every operation of the
// OpenAPI document by some verb.
import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { AdminApiError, AdminClient, NotLoadedError } from "@caracalai/admin";

import { decide, input, policy, root, startDev, until } from "./dev.mjs";

const dev = await startDev();
const { zone } = dev;

/** Calls made, as METHOD /path. @type {Set<string>} */
const made = new Set();

/** @type {import("@caracalai/admin").FetchImpl} */
const recorded = (url, init) => {
  made.add(`${init.method} ${new URL(url).pathname}`);
  return fetch(url, init);
};
const admin = new AdminClient({ ...dev, fetchImpl: recorded });

/** Operations that daemons call and people do not. */
const forDaemons = ["pointer.watch", "receipt.put", "audit.ingest"];

after(() => {
  /** @type {Record<string, Record<string, { operationId: string }>>} */
  const paths = JSON.parse(readFileSync(join(root, "docs/openapi.json"), "utf8")).paths;
  const missing = [];
  for (const [path, methods] of Object.entries(paths)) {
    const shape = path.split("/");
    for (const [method, { operationId }] of Object.entries(methods)) {
      const called = [...made].some((call) => {
        const [verb, at = ""] = call.split(" ");
        const parts = at.split("/");
        return verb === method.toUpperCase() && parts.length === shape.length && shape.every((part, i) => part.startsWith("{") || part === parts[i]);
      });
      if (!called && !forDaemons.includes(operationId)) {
        missing.push(operationId);
      }
    }
  }
  assert.deepEqual(missing, [], "operations of the OpenAPI document that no verb was seen to call");
});

/** @param {string} [name] */
const newZone = (name = randomUUID()) => admin.zones.create({ name });

test("zones", async () => {
  const name = randomUUID();
  const made = await admin.zones.create({ name, settings: { audit_mask: ["/principal/id"] } });
  assert.equal(made.name, name);
  assert.deepEqual(await admin.zones.get(made.id), made);
  assert.ok((await admin.zones.list()).some((z) => z.id === made.id));
  const changed = await admin.zones.patch(made.id, { name: `${name}-2` });
  assert.equal(changed.name, `${name}-2`);
  assert.deepEqual(changed.settings.audit_mask, ["/principal/id"]);
  const active = await admin.zones.active(made.id);
  assert.equal(active.policy_set_version_id, null);
  assert.deepEqual((await admin.zones.activations(made.id)).map((a) => a.sequence), [0]);
  assert.equal(await admin.zones.delete(made.id), undefined);
  await assert.rejects(admin.zones.get(made.id), { status: 404, code: "zone_not_found" });
});

test("policies", async () => {
  const { id: zone } = await newZone();
  const content = policy("payments");
  const checked = await admin.policies.validate(content);
  assert.equal(checked.valid, true);
  assert.equal(checked.preview.package, "caracal.authz");
  const made = await admin.policies.create(zone, { name: "payments", description: "grants", content });
  assert.equal(made.version.id, made.version_id);
  assert.equal(made.version.content_sha256, createHash("sha256").update(content).digest("hex"));
  const next = await admin.policies.addVersion(zone, made.id, `${content}\n# two\n`);
  assert.equal(next.version, 2);
  const third = await admin.policies.addVersion(zone, made.id, { content: `${content}\n# three\n` });
  const read = await admin.policies.get(zone, made.id);
  assert.deepEqual(read.versions?.map((v) => v.id), [third.id, next.id, made.version.id]);
  assert.equal((await admin.policies.getVersion(zone, made.id, made.version.id)).content, content);
  assert.deepEqual((await admin.policies.list(zone)).map((p) => p.name), ["payments"]);
  assert.equal(await admin.policies.delete(zone, made.id), undefined);
  assert.deepEqual(await admin.policies.list(zone), []);
  const schema = await admin.policies.inputSchema();
  assert.ok(Object.keys(schema).length > 0);
});

test("tests of policies", async () => {
  const content = policy("payments");
  const tests = `package caracal.authz_test

import data.caracal.authz

nothing := {"context": {"requested_scopes": ["erase"]}}

test_denied if authz.result.decision == "deny" with input as nothing

test_allowed if {
	authz.result.decision == "allow" with input as nothing
}
`;
  const report = await admin.policies.test({ content, tests });
  assert.deepEqual(report.results.map((r) => [r.name, r.outcome, r.failed?.location.row]), [
    ["test_denied", "pass", undefined],
    ["test_allowed", "fail", 10],
  ]);
  assert.ok(report.coverage.percent > 0 && report.coverage.percent < 100);
  assert.ok(report.coverage.not_covered.every((s) => s.start.row >= 1 && s.end.row >= s.start.row));
  const modules = [{ name: "more", content: "package caracal.authz\n\nmore := 7\n" }];
  const more = await admin.policies.test({ content, modules, tests: "package caracal.authz\n\ntest_more if more == 7\n" });
  assert.equal(more.passed, 1);
  await assert.rejects(admin.policies.test({ content, tests: "package" }), (error) => {
    assert.ok(error instanceof AdminApiError);
    assert.equal(error.code, "invalid_rego");
    assert.equal(error.errors[0]?.file, "policy_test.rego");
    return true;
  });
});

test("policy templates", async () => {
  const templates = await admin.policyTemplates.list();
  const [first] = templates;
  assert.ok(first);
  assert.deepEqual(await admin.policyTemplates.get(first.id), first);
  for (const template of templates) {
    assert.equal((await admin.policies.validate(template.content)).valid, true, template.id);
  }
  await assert.rejects(admin.policyTemplates.get("nonsense"), { status: 404, code: "policy_template_not_found" });
});

describe("from a policy to its audit", () => {
  /** @type {import("@caracalai/admin").PolicySet} */
  let set;
  /** @type {string} */
  let strict;
  /** @type {string} */
  let grants;

  test("compose", async () => {
    const one = await admin.policies.create(zone, { name: "payments", content: policy("payments") });
    const two = await admin.policies.create(zone, { name: "step-up", content: policy("step_up") });
    const plain = await admin.policySets.create(zone, "plain");
    assert.equal(plain.description, "");
    await admin.policySets.delete(zone, plain.id);
    await assert.rejects(admin.policySets.get(zone, plain.id), { code: "policy_set_not_found" });
    set = await admin.policySets.create(zone, "payments", "who may refund");
    assert.equal(set.description, "who may refund");
    grants = (await admin.policySets.addVersion(zone, set.id, [{ policy_version_id: one.version.id }])).id;
    const version = await admin.policySets.addVersion(zone, set.id, [{ policy_version_id: one.version.id }, { policy_version_id: two.version.id }]);
    strict = version.id;
    assert.deepEqual((await admin.policySets.listVersions(zone, set.id)).map((v) => v.id), [strict, grants]);
    const read = await admin.policySets.getVersion(zone, set.id, strict);
    assert.deepEqual(read.policies?.map((p) => p.name), ["payments", "step-up"]);
    assert.deepEqual((await admin.policySets.list(zone)).map((s) => s.id), [set.id]);
  });

  test("simulate", async () => {
    const none = await admin.policySets.simulate(zone, set.id, strict);
    assert.equal(none.would_activate, true);
    assert.equal(none.result, null);
    const refund = input(zone, "refund");
    const denied = await admin.policySets.simulate(zone, set.id, strict, refund);
    assert.equal(denied.would_activate, true, denied.explanation.reason);
    assert.equal(denied.result?.decision, "deny");
    const unexpected = await admin.policySets.simulate(zone, set.id, strict, refund, { expectedDecision: "allow" });
    assert.equal(unexpected.would_activate, false);
    assert.equal(denied.trace, undefined);
    const traced = await admin.policySets.simulate(zone, set.id, strict, refund, { trace: true });
    const rules = traced.trace?.rules ?? [];
    assert.equal(traced.trace?.differs, undefined);
    assert.ok(rules.some((r) => r.held && r.policy === "step-up" && JSON.stringify(r.value).includes("step_up_required")));
    assert.ok(rules.some((r) => !r.held && r.failed?.text === "count(denials) == 0"));
    await assert.rejects(admin.policySets.simulate(zone, set.id, strict, undefined, { trace: true }), { status: 400, code: "invalid_body" });
    const many = await admin.policySets.simulateAll(zone, set.id, strict, [refund, input(zone, "read")]);
    assert.deepEqual(many.results?.map((r) => r.result?.decision), ["deny", "allow"]);
  });

  test("activate", async () => {
    const told = [];
    const done = await admin.policySets.activate(zone, set.id, strict, { expectedActiveVersionId: null, reason: "refunds need step-up" });
    const status = await admin.policySets.waitUntilLoaded(zone, set.id, strict, { outboxId: done.outbox_id, onStatus: (s) => told.push(s) });
    assert.equal(status.propagation_status, "loaded");
    assert.ok(told.length > 0);
    assert.equal((await admin.policySets.activationStatus(zone, set.id, strict, done.outbox_id)).outbox?.id, done.outbox_id);
    assert.equal((await admin.policySets.activationStatus(zone, set.id)).version_id, strict);
    assert.equal((await admin.zones.active(zone)).policy_set_version_id, strict);
    assert.deepEqual((await admin.zones.activations(zone)).map((a) => a.reason), ["refunds need step-up", "zone created"]);
    await assert.rejects(admin.policySets.activate(zone, set.id, grants, { expectedActiveVersionId: null }), { status: 409, code: "active_version_changed" });
    await assert.rejects(admin.policySets.waitUntilLoaded(zone, set.id, grants), (error) => {
      assert.ok(error instanceof NotLoadedError);
      assert.equal(error.status.version_id, grants);
      return true;
    });
  });

  test("audit", async () => {
    const decided = await decide(dev, input(zone, "refund"), `verbs-${randomUUID()}`);
    assert.equal(decided.decision, "deny");
    const trace = await until("the audit has the request", () =>
      admin.audit.explain(zone, decided.request_id).catch((error) => {
        assert.ok(error instanceof AdminApiError && error.code === "request_not_found", String(error));
        return undefined;
      }),
    );
    assert.equal(trace.final_decision, "deny");
    assert.deepEqual(trace.denied[0]?.policy_input, input(zone, "refund"));
    const again = await admin.policySets.simulate(zone, set.id, strict, trace.denied[0]?.policy_input);
    assert.deepEqual(again.result?.diagnostics, decided.diagnostics);
    const read = await decide(dev, input(zone, "read"), `verbs-${randomUUID()}`);
    const allowed = await until("the audit has what was allowed", () => admin.audit.explain(zone, read.request_id).catch(() => undefined));
    assert.deepEqual(allowed.denied, []);
    assert.deepEqual(allowed.allowed[0]?.policy_input, input(zone, "read"));
    const replayed = await admin.policySets.replay(zone, set.id, strict, { limit: 1000, decision: "deny", since: new Date(Date.now() - 3_600_000).toISOString() });
    assert.ok(replayed.replayed >= 1);
    assert.ok(!replayed.flipped.some((f) => f.request_id === decided.request_id));
    assert.deepEqual(await admin.policySets.replay(zone, set.id, strict), await admin.policySets.replay(zone, set.id, strict, { limit: 200 }));
    const summary = await admin.audit.summary(zone, { step_seconds: 10 });
    assert.equal(summary.step_seconds, 10);
    assert.ok(summary.denied >= 1 && summary.allowed >= 1);
    assert.equal(summary.points.reduce((n, p) => n + p.allowed + p.denied, 0), summary.allowed + summary.denied);
    const events = await admin.audit.byRequest(zone, decided.request_id);
    assert.deepEqual(events.map((e) => e.request_id), [decided.request_id]);
    assert.deepEqual(await admin.audit.list(zone, { request_id: decided.request_id }), events);
    assert.deepEqual(await admin.audit.list(zone, { request_id: decided.request_id, decision: "allow" }), []);
    const lines = (await new Response(await admin.audit.export(zone, "ndjson", { request_id: decided.request_id })).text()).trim().split("\n");
    assert.deepEqual(lines.map((line) => JSON.parse(line)), events);
    const csv = await new Response(await admin.audit.export(zone, "csv", { limit: 1 })).text();
    assert.match(csv, /^id,zone_id,/);
    const tail = admin.audit.tail(zone, { lastEventId: "0" });
    const first = await tail.next();
    assert.ok(!first.done && first.value.lastEventId !== "");
    await tail.return();
  });

  test("admin audit", async () => {
    const done = await admin.adminAudit.list(zone, { action: "policy_set.activate" });
    assert.deepEqual(done.map((e) => e.status_code), [409, 202]);
    const everywhere = await admin.adminAudit.list(null, { action: "zone.create", limit: 3 });
    assert.equal(everywhere.length, 3);
    const lines = (await new Response(await admin.adminAudit.export(zone, "ndjson", { action: "policy_set.activate" })).text()).trim().split("\n");
    assert.deepEqual(lines.map((line) => JSON.parse(line)), done);
    assert.match(await new Response(await admin.adminAudit.export(null, "csv", { limit: 1 })).text(), /^id,request_id,/);
  });

  test("daemons", async () => {
    const [daemon] = await admin.daemons.list();
    assert.equal(daemon?.name, "dev");
    assert.deepEqual((await admin.daemons.list(zone)).map((d) => d.id), [daemon.id]);
    const { id } = daemon;
    await until("the daemon says that it is ready", async () => (await admin.daemons.get(id)).status?.ready === true);
    assert.equal((await admin.daemons.get(id)).zones_total > 0, true);
    for (const [filter, found] of /** @type {[import("@caracalai/admin").DaemonFilter, number][]} */ ([
      [{ state: "unreachable" }, 0], [{ q: "DEV" }, 1], [{ q: "DEV", label: [] }, 1], [{ label: ["no=such"] }, 0], [{ label: ["no=such", "or=such"] }, 0],
    ])) {
      assert.equal((await admin.daemons.list(zone, filter)).length, found, JSON.stringify(filter));
      assert.equal((await admin.daemons.fleet(null, filter)).daemons, found, JSON.stringify(filter));
    }
    await admin.daemons.retire(id);
    await until("a daemon that is not gone is back", async () => (await admin.daemons.list()).length === 1);
    await assert.rejects(admin.daemons.retire("nobody"), (error) => error instanceof AdminApiError && error.code === "daemon_not_found");
  });

  test("bundles and keys", async () => {
    const { bundle_sha256 } = await admin.zones.active(zone);
    assert.ok(bundle_sha256);
    const data = await admin.bundles.get(bundle_sha256);
    assert.equal(createHash("sha256").update(data).digest("hex"), bundle_sha256);
    const envelope = await admin.bundles.envelope(bundle_sha256);
    assert.ok("signatures" in envelope);
    const { roots } = await admin.keys.trust();
    assert.ok(roots.length > 0);
  });
});

test("tokens", async () => {
  const me = await admin.tokens.whoAmI();
  assert.deepEqual(me.roles, ["admin"]);
  const made = await admin.tokens.create({ name: "auditor", roles: ["auditor"], zone_id: zone });
  const auditor = new AdminClient({ apiUrl: dev.apiUrl, adminToken: made.token });
  assert.deepEqual(await auditor.tokens.whoAmI(), { id: made.id, name: "auditor", roles: ["auditor"], zone_id: zone });
  await assert.rejects(auditor.policies.create(zone, { name: "x", content: policy("payments") }), { status: 403, code: "forbidden" });
  assert.ok((await admin.tokens.list()).some((t) => t.id === made.id));
  assert.equal(await admin.tokens.revoke(made.id), undefined);
  await assert.rejects(auditor.tokens.whoAmI(), { status: 401, code: "unauthorized" });
});

test("the control plane itself, without a token", async () => {
  const anyone = new AdminClient({ apiUrl: dev.apiUrl, adminToken: "", fetchImpl: recorded });
  assert.deepEqual(await anyone.system.live(), await admin.system.live());
  assert.equal(typeof (await anyone.system.ready()).status, "string");
  assert.match(await anyone.system.metrics(), /^# HELP /m);
  assert.ok("openapi" in (await anyone.system.openapi()));
});
