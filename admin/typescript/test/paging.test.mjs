// Lists are exact: nothing skipped, nothing twice, however they are gone through.
import assert from "node:assert/strict";
import { test } from "node:test";

import { AdminClient } from "@caracalai/admin";

import { input, policy, startDev, until } from "./dev.mjs";
import { faults, json } from "./faults.mjs";

const dev = await startDev();
const { zone } = dev;

/** Paths asked for. @type {URL[]} */
let asked = [];
const admin = new AdminClient({ ...dev, fetchImpl: (url, init) => {
  asked.push(new URL(url));
  return fetch(url, init);
} });

/** Asks the daemon many things at once. @param {number} n */
async function decideMany(n) {
  const one = input(zone, "read");
  const inputs = Array.from({ length: n }, (_, i) => ({ ...one, principal: { ...one.principal, id: `agent-${i}` } }));
  const response = await fetch(`${dev.decideUrl}/v1/decide/batch`, { method: "POST", body: JSON.stringify({ inputs }) });
  assert.equal(response.status, 200);
  await response.arrayBuffer();
}

const first = 450;
await decideMany(250);
await decideMany(200);

/** Every event there is, as the export gives them: newest first. */
async function exported() {
  const text = await new Response(await admin.audit.export(zone, "ndjson")).text();
  return text.split("\n").filter((line) => line !== "").map((line) => /** @type {string} */ (JSON.parse(line).id));
}
await until("the audit has them all", async () => (await exported()).length === first);

test("a list is drained, page by page", async () => {
  const all = await exported();
  assert.equal(new Set(all).size, first);
  asked = [];
  assert.deepEqual((await admin.audit.list(zone)).map((e) => e.id), all);
  assert.equal(asked.length, 3, "pages of 200");
});

test("a list gives no more than asked for", async () => {
  const all = await exported();
  for (const limit of [0, 1, 200, 201, 449, 450, 451, 501]) {
    assert.deepEqual((await admin.audit.list(zone, { limit })).map((e) => e.id), all.slice(0, limit), `limit ${limit}`);
  }
});

test("pages of any size put together are the list", async () => {
  const all = await exported();
  for (const limit of [37, 150, 500]) {
    const got = [];
    let page = await admin.audit.page(zone, { limit });
    for (;;) {
      assert.ok(page.items.length <= limit);
      got.push(...page.items.map((e) => e.id));
      if (page.next_cursor === null) {
        break;
      }
      page = await admin.audit.page(zone, { limit, cursor: page.next_cursor });
    }
    assert.deepEqual(got, all, `pages of ${limit}`);
  }
});

test("going through asks for a page when it is needed, and for none after the end of interest", async () => {
  asked = [];
  let n = 0;
  for await (const event of admin.audit.iterate(zone)) {
    assert.equal(event.zone_id, zone);
    if (++n === 201) {
      break;
    }
  }
  assert.equal(asked.length, 2);
});

test("what comes in meanwhile neither shifts nor repeats anything", async () => {
  const before = await exported();
  const got = [];
  for await (const event of admin.audit.iterate(zone)) {
    got.push(event.id);
    if (got.length === 10) {
      await decideMany(50);
      await until("the audit has them", async () => (await exported()).length === before.length + 50);
    }
  }
  assert.deepEqual(got, before);
});

test("filters hold on every page", async () => {
  const { id: other } = await admin.zones.create({ name: "elsewhere" });
  assert.deepEqual(await admin.audit.list(other), []);
  assert.deepEqual(await admin.audit.list(zone, { decision: "allow" }), []);
  const denied = await admin.audit.list(zone, { decision: "deny", event_type: "decision" });
  assert.equal(denied.length, (await exported()).length);
});

test("every other list pages too", async () => {
  const names = Array.from({ length: 7 }, (_, i) => `list-${i}`);
  for (const name of names) {
    await admin.policies.create(zone, { name, content: policy("payments") });
    await admin.policySets.create(zone, name);
    await admin.zones.create({ name });
    await admin.tokens.create({ name, roles: ["viewer"] });
  }
  const [set] = await admin.policySets.list(zone, { limit: 1 });
  const [made] = await admin.policies.list(zone, { limit: 1 });
  assert.ok(set && made);
  for (let i = 0; i < 7; i++) {
    await admin.policySets.addVersion(zone, set.id, [{ policy_version_id: made.version.id }]);
  }
  for (const list of await admin.policySets.listVersions(zone, set.id)) {
    await admin.policySets.activate(zone, set.id, list.id);
  }
  /** @type {Record<string, [all: () => Promise<{ id: string }[]>, page: (query: import("@caracalai/admin").PageQuery) => Promise<import("@caracalai/admin").Page<{ id: string }>>]>} */
  const lists = {
    zones: [() => admin.zones.list(), (at) => admin.zones.page(at)],
    activations: [() => admin.zones.activations(zone), (at) => admin.zones.pageActivations(zone, at)],
    policies: [() => admin.policies.list(zone), (at) => admin.policies.page(zone, at)],
    policySets: [() => admin.policySets.list(zone), (at) => admin.policySets.page(zone, at)],
    versions: [() => admin.policySets.listVersions(zone, set.id), (at) => admin.policySets.pageVersions(zone, set.id, at)],
    tokens: [() => admin.tokens.list(), (at) => admin.tokens.page(at)],
    daemons: [() => admin.daemons.list(), (at) => admin.daemons.page(null, at)],
    adminAudit: [() => admin.adminAudit.list(zone), (at) => admin.adminAudit.page(zone, at)],
    adminAuditOfAll: [() => admin.adminAudit.list(null), (at) => admin.adminAudit.page(null, at)],
  };
  for (const [name, [all, page]] of Object.entries(lists)) {
    const whole = (await all()).map((item) => item.id);
    assert.ok(whole.length >= (name === "daemons" ? 1 : 7), name);
    const got = [];
    /** @type {string | null} */
    let cursor = null;
    do {
      const part = await page({ limit: 3, cursor });
      got.push(...part.items.map((item) => item.id));
      cursor = part.next_cursor;
    } while (cursor !== null);
    assert.deepEqual(got, whole, name);
  }
});

test("a list that never ends is an error", async () => {
  const server = await faults(json(200, { items: [{ id: "1" }], next_cursor: "same" }));
  await assert.rejects(new AdminClient({ apiUrl: server.url, adminToken: "t" }).zones.list(), /does not end/);
  assert.equal(server.seen.length, 2);
});

test("a server that gives more than asked for does not make a list longer", async () => {
  const server = await faults(json(200, { items: [{ id: "1" }, { id: "2" }, { id: "3" }], next_cursor: "next" }));
  const admin = new AdminClient({ apiUrl: server.url, adminToken: "t" });
  assert.deepEqual((await admin.zones.list({ limit: 2 })).map((z) => z.id), ["1", "2"]);
  assert.equal((await admin.zones.list({ limit: 3 })).length, 3);
  assert.equal(server.seen.length, 2, "no page is asked for that is not needed");
});
