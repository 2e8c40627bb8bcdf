// How calls go out, and what is made of answers, refusals above all.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { getEventListeners } from "node:events";
import { test } from "node:test";

import { AdminApiError, AdminClient, AdminConnectionError, NotLoadedError } from "@caracalai/admin";

import { policy, startDev, until } from "./dev.mjs";
import { empty, faults, json } from "./faults.mjs";

const dev = await startDev();
const { admin, zone } = dev;

/**
 * @param {Promise<unknown>} promise
 * @returns {Promise<AdminApiError>}
 */
async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof AdminApiError, String(error));
    assert.ok(error instanceof Error);
    assert.equal(error.name, "AdminApiError");
    return error;
  }
  assert.fail("not refused");
}

test("401: a wrong token", async () => {
  const error = await refusal(new AdminClient({ ...dev, adminToken: "wrong" }).zones.list());
  assert.equal(error.status, 401);
  assert.equal(error.code, "unauthorized");
  assert.deepEqual(error.body, { error: "unauthorized", error_description: error.description });
  assert.match(error.message, /^GET \/v1\/zones: unauthorized: .* \(401\)$/);
  assert.ok(error.requestId);
});

test("404: what is not there", async () => {
  assert.equal((await refusal(admin.zones.get(randomUUID()))).code, "zone_not_found");
  assert.equal((await refusal(admin.policies.get(zone, randomUUID()))).code, "policy_not_found");
  assert.equal((await refusal(admin.policySets.get(zone, randomUUID()))).code, "policy_set_not_found");
  const error = await refusal(admin.audit.explain(zone, "nobody-asked-this"));
  assert.equal(error.status, 404);
  assert.equal(error.code, "request_not_found");
});

test("409: a name that is taken", async () => {
  await admin.policies.create(zone, { name: "taken", content: policy("payments") });
  const error = await refusal(admin.policies.create(zone, { name: "taken", content: policy("payments") }));
  assert.equal(error.status, 409);
  assert.equal(error.code, "policy_name_conflict");
  await admin.policySets.create(zone, "taken");
  assert.equal((await refusal(admin.policySets.create(zone, "taken"))).code, "policy_set_name_conflict");
});

test("422: content that is refused, with the places", async () => {
  const broken = "package caracal.authz\n\nresult := {\n";
  for (const call of [admin.policies.validate(broken), admin.policies.create(zone, { name: "broken", content: broken })]) {
    const error = await refusal(call);
    assert.equal(error.status, 422);
    assert.equal(error.code, "invalid_rego");
    assert.equal(typeof error.errors[0]?.location?.row, "number");
    const { errors } = /** @type {import("@caracalai/admin").ValidateFailure} */ (error.body);
    assert.deepEqual(errors, error.errors);
  }
  const set = await admin.policySets.create(zone, "empty");
  assert.equal((await refusal(admin.policySets.addVersion(zone, set.id, []))).code, "invalid_policy_contract");
});

test("400: a body or a query of the wrong shape", async () => {
  assert.equal((await refusal(admin.zones.create({ name: "" }))).status, 400);
  const error = await refusal(admin.zones.page({ limit: 501 }));
  assert.equal(error.status, 400);
  assert.equal(error.code, "invalid_query");
});

test("a refusal from between, which is not the API's", async () => {
  const server = await faults((response) => response.writeHead(413, { "Content-Type": "text/html" }).end("<h1>no</h1>"));
  const error = await refusal(new AdminClient({ apiUrl: server.url, adminToken: "t" }).zones.list());
  assert.equal(error.status, 413);
  assert.equal(error.code, "payload_too_large");
  assert.equal(error.body, "<h1>no</h1>");
  assert.deepEqual(error.errors, []);
});

test("an answer that is not the API's is an error, and not asked for again", async () => {
  const server = await faults((response) => response.end("<h1>welcome</h1>"));
  await assert.rejects(new AdminClient({ apiUrl: server.url, adminToken: "t" }).zones.list(), (error) => error instanceof AdminConnectionError && error.code === "invalid_answer");
  assert.equal(server.seen.length, 1);
  const list = await faults(json(200, { next_cursor: null }));
  await assert.rejects(new AdminClient({ apiUrl: list.url, adminToken: "t" }).zones.list(), /missing items/);
});

test("what goes out", async () => {
  const server = await faults(empty);
  const admin = new AdminClient({ apiUrl: `${server.url}/behind/a/proxy/`, adminToken: "secret", headers: { "X-Actor": "one", authorization: "Basic no", "X-Keep": "kept" } });
  assert.equal(admin.apiUrl, `${server.url}/behind/a/proxy`);
  await admin.policies.list("a/b ?#%");
  await admin.withDefaultHeaders({ "x-actor": "two" }).audit.list("z", { since: "2026-01-01T00:00:00+02:00", decision: undefined, limit: 5 }, { headers: { "X-Call": "this" } });
  const [first, second] = server.seen;
  assert.equal(first?.url, "/behind/a/proxy/v1/zones/a%2Fb%20%3F%23%25/policies");
  assert.equal(first?.headers.authorization, "Bearer secret");
  assert.equal(first?.headers["x-actor"], "one");
  assert.equal(first?.headers["content-type"], undefined);
  assert.equal(second?.url, "/behind/a/proxy/v1/zones/z/audit?since=2026-01-01T00%3A00%3A00%2B02%3A00&limit=5");
  assert.equal(second?.headers["x-actor"], "two");
  assert.equal(second?.headers["x-keep"], "kept");
  assert.equal(second?.headers["x-call"], "this");
  await new AdminClient({ apiUrl: server.url, adminToken: "" }).zones.list();
  assert.equal(server.seen[2]?.headers.authorization, undefined);
});

test("an id that would make another call of it is refused before anything goes out", async () => {
  const server = await faults(empty);
  const admin = new AdminClient({ apiUrl: server.url, adminToken: "t" });
  for (const id of ["", ".", "..", /** @type {any} */ (undefined), /** @type {any} */ (null)]) {
    await assert.rejects(async () => admin.zones.delete(id), TypeError);
  }
  assert.equal(server.seen.length, 0);
});

test("options that cannot be", () => {
  const good = { apiUrl: "http://127.0.0.1:3000", adminToken: "t" };
  for (const wrong of [
    { apiUrl: "" },
    { apiUrl: "ftp://127.0.0.1" },
    { apiUrl: "http://user:pass@127.0.0.1" },
    { apiUrl: "http://127.0.0.1/?a=b" },
    { adminToken: /** @type {any} */ (undefined) },
    { adminToken: "line\n" },
    { timeoutMs: -1 },
    { retries: NaN },
  ]) {
    assert.throws(() => new AdminClient({ ...good, ...wrong }), TypeError, JSON.stringify(wrong));
  }
});

/** @param {string} propagation_status */
const status = (propagation_status) => json(200, {
  zone_id: "z", policy_set_id: "s", version_id: "v", active: true, active_version_id: "v", manifest_sha256: "", propagation_status, outbox: null,
  sts: { state: "failed", loaded: false, policy_set_version_id: null, manifest_sha256: null, loaded_at: null, age_seconds: null, detail: "it does not compile" },
  daemons: { total: 1, loaded: 0, failed: 1, lagging: 0 },
});

test("waiting for a version ends when it loaded, when it failed, and with the time", async () => {
  const slow = await faults(status("waiting_for_outbox"), status("waiting_for_sts"), status("loaded"));
  /** @type {string[]} */
  const seen = [];
  await new AdminClient({ apiUrl: slow.url, adminToken: "t" }).policySets.waitUntilLoaded("z", "s", "v", { intervalMs: 1, onStatus: (s) => seen.push(s.propagation_status) });
  assert.deepEqual(seen, ["waiting_for_outbox", "waiting_for_sts", "loaded"]);
  const failed = await faults(status("waiting_for_sts"), status("failed"));
  await assert.rejects(
    new AdminClient({ apiUrl: failed.url, adminToken: "t" }).policySets.waitUntilLoaded("z", "s", "v", { intervalMs: 1 }),
    (error) => error instanceof NotLoadedError && error.message.includes("it does not compile") && error.status.daemons.failed === 1,
  );
  const stuck = await faults(status("waiting_for_sts"));
  await assert.rejects(
    new AdminClient({ apiUrl: stuck.url, adminToken: "t" }).policySets.waitUntilLoaded("z", "s", "v", { intervalMs: 1, withinMs: 30 }),
    (error) => error instanceof NotLoadedError && error.status.propagation_status === "waiting_for_sts",
  );
});

test("a bundle whose hash is another is refused", async () => {
  const server = await faults((response) => response.end("not that bundle"));
  await assert.rejects(new AdminClient({ apiUrl: server.url, adminToken: "t" }).bundles.get("0".repeat(64)), (error) => error instanceof AdminConnectionError && error.code === "invalid_answer");
});

test("a file that breaks off is an error, not a shorter file", async () => {
  const server = await faults((response) => {
    response.writeHead(200, { "Content-Type": "application/x-ndjson" });
    response.write('{"id":"1"}\n', () => response.destroy());
  });
  const stream = await new AdminClient({ apiUrl: server.url, adminToken: "t" }).audit.export("z", "ndjson");
  await assert.rejects(new Response(stream).text(), (error) => error instanceof AdminConnectionError && error.code === "network_error");
});

test("a file takes as long as it takes, and ends when its reader does", async () => {
  let closed = false;
  const server = await faults((response) => {
    let pieces = 0;
    response.writeHead(200, { "Content-Type": "application/x-ndjson" });
    response.on("close", () => (closed = true));
    const timer = setInterval(() => {
      response.write(`${++pieces}\n`);
      if (pieces === 20) {
        clearInterval(timer);
        response.end();
      }
    }, 60);
    response.on("close", () => clearInterval(timer));
  });
  const admin = new AdminClient({ apiUrl: server.url, adminToken: "t", timeoutMs: 1000 });
  assert.equal((await new Response(await admin.audit.export("z", "ndjson")).text()).trim().split("\n").length, 20);
  for (const how of /** @type {const} */ (["cancel", "abort"])) {
    closed = false;
    const controller = new AbortController();
    const reason = new Error("enough");
    const reader = (await admin.audit.export("z", "ndjson", {}, { signal: controller.signal })).getReader();
    await reader.read();
    if (how === "cancel") {
      await reader.cancel();
    } else {
      controller.abort(reason);
      await assert.rejects(async () => {
        while (!(await reader.read()).done);
      }, reason);
    }
    await until("the server is told", () => closed);
    assert.equal(getEventListeners(controller.signal, "abort").length, 0);
  }
});
