// A tail gives every event once, whatever becomes of its connections.
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";

import { AdminApiError, AdminClient, AdminConnectionError } from "@caracalai/admin";

import { decide, input, policy, startDev, until } from "./dev.mjs";
import { cutter, faults, hangUp, json } from "./faults.mjs";

const dev = await startDev();
const { admin, zone } = dev;

// Reading is allowed, refunding is not.
const made = await admin.policies.create(zone, { name: "payments", content: policy("payments") });
const set = await admin.policySets.create(zone, "payments");
const version = await admin.policySets.addVersion(zone, set.id, [{ policy_version_id: made.version.id }]);
await admin.policySets.activate(zone, set.id, version.id);
await admin.policySets.waitUntilLoaded(zone, set.id, version.id);

/** @param {string} apiUrl */
const client = (apiUrl) => new AdminClient({ apiUrl, adminToken: dev.adminToken });

/**
 * Takes the next events of a tail.
 * @param {AsyncGenerator<import("@caracalai/admin").TailEvent>} tail
 * @param {number} n
 */
async function take(tail, n) {
  const got = [];
  while (got.length < n) {
    const next = await tail.next();
    assert.ok(!next.done, "the tail ended");
    got.push(next.value);
  }
  return got;
}

test("each event comes once and in order, over connections that break", async () => {
  const ids = [];
  for (let i = 0; i < 120; i++) {
    ids.push((await decide(dev, input(zone, "read"), `broken-${i}`)).request_id);
  }
  const proxy = await cutter(dev.apiUrl, (n) => 9_000 + 1_111 * n);
  let lost = 0;
  const tail = client(proxy.url).audit.tail(zone, { lastEventId: "0", onState: (state) => state === "lost" && lost++ });
  assert.deepEqual((await take(tail, 120)).map((e) => e.request_id), ids);
  assert.ok(lost > 3, `the connection broke ${lost} times`);
  // Nothing came twice after them either: the next event is a new one.
  await decide(dev, input(zone, "read"), "after");
  assert.deepEqual((await take(tail, 1)).map((e) => e.request_id), ["after"]);
  await tail.return();
});

test("a tail without a beginning gives what comes from now on", async () => {
  const controller = new AbortController();
  /** @type {() => void} */
  let opened = () => {};
  const open = new Promise((resolve) => (opened = () => resolve(undefined)));
  const tail = admin.audit.tail(zone, { signal: controller.signal, onState: (state) => state === "open" && opened() });
  const first = take(tail, 1);
  await open;
  await decide(dev, input(zone, "read"), "live-1");
  const [event] = await first;
  assert.equal(event?.request_id, "live-1");
  assert.equal(event?.zone_id, zone);
  // What is taken up after an event goes on with the next.
  await decide(dev, input(zone, "read"), "live-2");
  const other = admin.audit.tail(zone, { lastEventId: event?.lastEventId });
  assert.deepEqual((await take(other, 1)).map((e) => e.request_id), ["live-2"]);
  await other.return();
  // The signal ends it with its reason, and nothing is left on the signal.
  const reason = new Error("enough");
  await take(tail, 1);
  const waiting = take(tail, 1);
  controller.abort(reason);
  await assert.rejects(waiting, reason);
  assert.deepEqual(await tail.next(), { done: true, value: undefined });
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
});

test("filters", async () => {
  await decide(dev, input(zone, "read"), "filter-allow");
  await decide(dev, input(zone, "refund-reader"), "filter-deny");
  const tail = admin.audit.tail(zone, { lastEventId: "0", decision: "deny" });
  assert.deepEqual((await take(tail, 1)).map((e) => [e.request_id, e.decision]), [["filter-deny", "deny"]]);
  await tail.return();
});

test("a tail waits for a control plane that is away, and gives what happened meanwhile", async () => {
  const away = { is: false };
  const proxy = await cutter(dev.apiUrl, () => (away.is ? 0 : 30_000));
  const [last] = await take(admin.audit.tail(zone, { lastEventId: "0" }), 1);
  const all = await admin.audit.list(zone);
  const tail = client(proxy.url).audit.tail(zone, { lastEventId: last?.lastEventId });
  const got = await take(tail, 2);
  away.is = true;
  await decide(dev, input(zone, "read"), "meanwhile");
  const before = proxy.state.connections;
  const rest = take(tail, all.length - 1 - 2 + 1);
  await until("the tail tries again", () => proxy.state.connections > before + 1);
  away.is = false;
  got.push(...(await rest));
  assert.deepEqual(got.map((e) => e.request_id), [...all.map((e) => e.request_id).reverse().slice(1), "meanwhile"]);
  await tail.return();
});

test("a refusal ends it", async () => {
  await assert.rejects(take(new AdminClient({ ...dev, adminToken: "wrong" }).audit.tail(zone), 1), (error) => error instanceof AdminApiError && error.status === 401);
  await assert.rejects(take(admin.audit.tail("nowhere"), 1), { status: 404 });
  await assert.rejects(take(admin.audit.tail(zone, { lastEventId: "x" }), 1), { status: 400 });
  const server = await faults(json(200, {}));
  await assert.rejects(take(client(server.url).audit.tail(zone), 1), (error) => error instanceof AdminConnectionError && error.code === "invalid_answer");
});

/**
 * Sends pieces of a stream of events, each by itself.
 * @param {(string | Uint8Array)[]} pieces
 * @param {boolean} [end]
 * @returns {(response: import("node:http").ServerResponse) => void}
 */
const events = (pieces, end = true) => (response) => {
  response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
  response.flushHeaders();
  const [first, ...rest] = pieces;
  const send = (/** @type {string | Uint8Array | undefined} */ piece) => {
    if (piece === undefined) {
      if (end) {
        response.end();
      }
      return;
    }
    response.write(piece, () => setImmediate(() => send(rest.shift())));
  };
  send(first);
};

test("the stream is read however it is cut up", async () => {
  const text = '\uFEFF: hello\r\n\r\nid: 1\r\ndata: {"id":"a",\r\ndata: "request_id":"grüße"}\r\n\r\nid:2\rdata:{"id":"b"}\r\revent: x\ndata\n\nid: 3\ndata: {"id":"c"}\n\nid: 4\ndata: {"id":"cut off"}\n';
  const bytes = new TextEncoder().encode(text.replace("event: x\ndata\n\n", ""));
  for (const size of [1, 2, 7, bytes.length]) {
    const pieces = [];
    for (let i = 0; i < bytes.length; i += size) {
      pieces.push(bytes.subarray(i, i + size));
    }
    const server = await faults(events(pieces), events(['id: 4\ndata: {"id":"d"}\n\n'], false));
    const tail = client(server.url).audit.tail(zone);
    const got = await take(tail, 4);
    assert.deepEqual(got.map((e) => [e.lastEventId, e.id, e.request_id]), [["1", "a", "grüße"], ["2", "b", undefined], ["3", "c", undefined], ["4", "d", undefined]]);
    assert.deepEqual(server.seen.map((s) => s.headers["last-event-id"]), [undefined, "3"]);
    await tail.return();
  }
});

test("an id without data says where the stream stands", async () => {
  const server = await faults(events(["id: 41\n\n", ": still here\n\n"]), events(['id: 42\ndata: {"id":"a"}\n\n'], false));
  const tail = client(server.url).audit.tail(zone);
  await take(tail, 1);
  assert.equal(server.seen[1]?.headers["last-event-id"], "41");
  await tail.return();
});

test("a stream on which nothing comes is lost", async () => {
  const server = await faults(events([": following\n\n"], false), hangUp, json(503, {}, { "Retry-After": "0" }), events(['id: 1\ndata: {"id":"a"}\n\n'], false));
  /** @type {string[]} */
  const states = [];
  const tail = client(server.url).audit.tail(zone, { idleTimeoutMs: 1000, onState: (state, error) => states.push(error instanceof Error ? `${state}: ${/** @type {any} */ (error).code}` : state) });
  assert.equal((await take(tail, 1))[0]?.id, "a");
  assert.deepEqual(states, ["open", "lost: timeout", "lost: network_error", "lost: service_unavailable", "open"]);
  await tail.return();
});

test("what fails in the caller's own function is not taken for a lost stream", async () => {
  const server = await faults(events([": following\n\n"], false));
  const wrong = new Error("mine");
  await assert.rejects(take(client(server.url).audit.tail(zone, { onState: () => { throw wrong; } }), 1), wrong);
  assert.equal(server.seen.length, 1);
});
