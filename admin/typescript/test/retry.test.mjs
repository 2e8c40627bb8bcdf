// What is tried again, when, and what ends it.
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";

import { AdminApiError, AdminClient, AdminConnectionError } from "@caracalai/admin";

import { policy, startDev, until } from "./dev.mjs";
import { cutter, empty, faults, hangUp, json, silence } from "./faults.mjs";

const busy = json(503, { error: "overloaded", error_description: "later" });

/**
 * @param {string} apiUrl
 * @param {Partial<import("@caracalai/admin").AdminClientOptions>} [options]
 */
const client = (apiUrl, options) => new AdminClient({ apiUrl, adminToken: "secret", ...options });

/**
 * @template T
 * @param {Promise<T>} promise
 * @returns {Promise<any>}
 */
const failure = (promise) => promise.then((value) => assert.fail(`not rejected: ${JSON.stringify(value)}`), (error) => error);

for (const [what, fault] of /** @type {const} */ ([
  ["429", json(429, { error: "too_many" })],
  ["502", json(502, {})],
  ["503", busy],
  ["504", json(504, {})],
  ["a broken connection", hangUp],
  ["an answer that breaks off", (/** @type {import("node:http").ServerResponse} */ response) => {
    response.writeHead(200, { "Content-Length": "1000" });
    response.write('{"items":[', () => response.destroy());
  }],
])) {
  test(`a read is tried again after ${what}`, async () => {
    const server = await faults(fault, empty);
    assert.deepEqual(await client(server.url).zones.list(), []);
    assert.equal(server.seen.length, 2);
  });
}

test("retries end with the last failure", async () => {
  const server = await faults(busy);
  const error = await failure(client(server.url, { retries: 1 }).zones.list());
  assert.ok(error instanceof AdminApiError);
  assert.equal(error.status, 503);
  assert.equal(error.code, "overloaded");
  assert.equal(server.seen.length, 2);
  await failure(client(server.url).zones.list({}, { retries: 0 }));
  assert.equal(server.seen.length, 3);
});

test("what is refused is not asked again", async () => {
  for (const status of [400, 401, 403, 404, 409, 422, 500]) {
    const server = await faults(json(status, { error: "refused" }), empty);
    assert.equal((await failure(client(server.url).zones.list())).status, status);
    assert.equal(server.seen.length, 1);
  }
});

test("a write is not tried again", async () => {
  const server = await faults(busy);
  const admin = client(server.url);
  await failure(admin.policies.create("z", { name: "p", content: "" }));
  await failure(admin.policySets.activate("z", "s", "v"));
  await failure(admin.zones.patch("z", { name: "n" }));
  await failure(admin.policies.delete("z", "p"));
  assert.deepEqual(server.seen.map((s) => s.method), ["POST", "POST", "PATCH", "DELETE"]);
});

test("a write with an idempotency key is done once, though its answer was lost", async () => {
  const dev = await startDev();
  const proxy = await cutter(dev.apiUrl, (connection) => (connection === 0 ? 1 : Infinity));
  const admin = client(proxy.url, { adminToken: dev.adminToken });
  const made = await admin.policies.create(dev.zone, { name: "once", content: policy("payments") }, { idempotencyKey: "key-1" });
  assert.ok(proxy.state.connections > 1);
  assert.deepEqual((await admin.policies.list(dev.zone)).map((p) => p.id), [made.id]);
  const again = await admin.policies.create(dev.zone, { name: "once", content: policy("payments") }, { idempotencyKey: "key-1" });
  assert.equal(again.id, made.id);
  const error = await failure(admin.policies.create(dev.zone, { name: "other", content: policy("payments") }, { idempotencyKey: "key-1" }));
  assert.equal(error.code, "idempotency_key_reused");
});

test("Retry-After is waited out, in seconds and as a date", async () => {
  const later = () => new Date(Date.now() + 2000).toUTCString(); // of whole seconds: at least one from now
  for (const value of [() => "1", later]) {
    const server = await faults((response) => json(429, { error: "too_many" }, { "Retry-After": value() })(response), empty);
    await client(server.url).zones.list();
    const [first, second] = server.seen;
    assert.ok(first && second && second.at - first.at >= 990, `tried again after ${second && first && second.at - first.at} ms`);
  }
});

test("a Retry-After that is too long to wait out is told", async () => {
  const server = await faults(json(503, { error: "maintenance" }, { "Retry-After": "3600" }));
  const error = await failure(client(server.url).zones.list());
  assert.equal(error.retryAfterMs, 3_600_000);
  assert.equal(server.seen.length, 1);
});

test("an attempt takes no longer than its time", async () => {
  for (const fault of [
    silence,
    (/** @type {import("node:http").ServerResponse} */ response) => response.writeHead(200).write("{"),
    (/** @type {import("node:http").ServerResponse} */ response) => response.writeHead(400).write("{"),
  ]) {
    const server = await faults(fault);
    let attempts = 0;
    const admin = client(server.url, { timeoutMs: 50, retries: 1, fetchImpl: (url, init) => {
      attempts++;
      return fetch(url, init);
    } });
    const error = await failure(admin.zones.list());
    assert.ok(error instanceof AdminConnectionError, String(error));
    assert.equal(error.code, "timeout");
    assert.equal(attempts, 2);
  }
  const deaf = client("http://127.0.0.1:1", { fetchImpl: () => new Promise(() => {}), timeoutMs: 50, retries: 0 });
  assert.equal((await failure(deaf.zones.list())).code, "timeout");
});

test("nobody there is a network error with its cause", async () => {
  const error = await failure(client("http://127.0.0.1:1", { retries: 0 }).zones.list());
  assert.ok(error instanceof AdminConnectionError);
  assert.equal(error.code, "network_error");
  assert.match(error.message, /GET \/v1\/zones/);
  assert.ok(error.cause instanceof Error);
});

test("the caller's signal ends a call, with its reason", async () => {
  const server = await faults(silence);
  for (const given of /** @type {const} */ (["call", "client"])) {
    const controller = new AbortController();
    const reason = new Error("enough");
    const admin = client(server.url, given === "client" ? { signal: controller.signal } : {});
    const seen = server.seen.length;
    const call = failure(admin.zones.list({}, given === "call" ? { signal: controller.signal } : {}));
    const watch = setInterval(() => server.seen.length > seen && controller.abort(reason), 5);
    assert.equal(await call, reason);
    clearInterval(watch);
    assert.equal(server.seen.length, seen + 1);
    assert.equal(await failure(admin.zones.list({}, { signal: controller.signal })), reason, "an aborted signal lets nothing begin");
    assert.equal(server.seen.length, seen + 1);
  }
});

test("the caller's signal ends the pause before another attempt", async () => {
  const controller = new AbortController();
  const server = await faults((response) => {
    json(503, {}, { "Retry-After": "50" })(response);
    setTimeout(() => controller.abort(), 20);
  });
  const error = await failure(client(server.url).zones.list({}, { signal: controller.signal }));
  assert.equal(error.name, "AbortError");
  assert.equal(server.seen.length, 1);
});

test("a signal that lives long gathers no listeners", async () => {
  const { signal } = new AbortController();
  const server = await faults(busy, empty);
  const admin = client(server.url, { signal });
  for (let i = 0; i < 5; i++) {
    await admin.zones.list({}, { signal });
  }
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

test("many calls at once share a signal, and all end with it", async () => {
  const controller = new AbortController();
  const { signal } = controller;
  /** @type {Error[]} */
  const warnings = [];
  const warned = (/** @type {Error} */ warning) => warnings.push(warning);
  process.on("warning", warned);
  const server = await faults(silence);
  const admin = client(server.url, { signal });
  const calls = Array.from({ length: 50 }, () => failure(admin.zones.list({}, { signal })));
  assert.equal(getEventListeners(signal, "abort").length, 1);
  await until("all were sent", () => server.seen.length === 50);
  const reason = new Error("enough");
  controller.abort(reason);
  assert.ok((await Promise.all(calls)).every((error) => error === reason));
  assert.equal(getEventListeners(signal, "abort").length, 0);
  process.off("warning", warned);
  assert.deepEqual(warnings, []);
});
