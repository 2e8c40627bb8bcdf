// Against servers that answer what no daemon answers.
import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";

import { Decision, DecideClient } from "../dist/index.js";

const HASH = "0a".repeat(32);
const input = {
  principal: { type: "agent", id: "a", zone_id: "z1" },
  resource: { type: "service", id: "r", identifier: "urn:r", scopes: [] },
  action: { id: "x" },
  context: { actor_claims: {}, challenge_resolved: false, requested_scopes: [] },
};

const good = (id) => ({
  decision: '"allow"', evaluation_status: '"complete"', determining_policies: "[]", diagnostics: '[{"reason":"}]\\""}]', request_id: JSON.stringify(id), decision_id: '"d"',
  zone_id: '"z1"', policy_set_id: '"s"', policy_set_version_id: '"v"', manifest_sha256: `"${HASH}"`, bundle_sha256: `"${HASH}"`,
});
const object = (fields, more = "") => `{${Object.entries(fields).map(([name, value]) => `"${name}":${value}`).join(",")}${more}}`;
const http = (id, text, status = "200 OK", more = "") => `HTTP/1.1 ${status}\r\nX-Request-Id: ${id}\r\n${more}Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;

/** Runs f with a client of a server that calls serve for each request. */
async function against(serve, f, options = {}) {
  const sockets = new Set();
  let connections = 0;
  const server = net.createServer((socket) => {
    const n = connections++;
    let k = 0;
    let buffer = "";
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined); // the client may go at any time
    socket.on("data", (data) => {
      buffer += data;
      for (;;) {
        const end = buffer.indexOf("\r\n\r\n");
        if (end < 0) return;
        const head = buffer.slice(0, end);
        const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
        if (buffer.length < end + 4 + length) return;
        const body = buffer.slice(end + 4, end + 4 + length);
        buffer = buffer.slice(end + 4 + length);
        serve({ socket, id: /x-request-id: (\S+)/i.exec(head)[1], body, connection: n, request: k++ });
      }
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const client = new DecideClient({ url: `http://127.0.0.1:${server.address().port}`, timeoutMs: 10_000, ...options });
  try {
    return await f(client);
  } finally {
    client.close();
    sockets.forEach((s) => s.destroy());
    await new Promise((done) => server.close(done));
  }
}

const bad = {
  "not JSON": () => "allow",
  nothing: () => "",
  null: () => "null",
  "a word": () => '"allow"',
  "an array": (id) => `[${object(good(id))}]`,
  "cut off": (id) => object(good(id)).slice(0, -1),
  "two answers": (id) => object(good(id)) + object(good(id)),
  "unknown word": (id) => object({ ...good(id), decision: '"permit"' }),
  "other case": (id) => object({ ...good(id), decision: '"Allow"' }),
  true: (id) => object({ ...good(id), decision: "true" }),
  "other name": (id) => object({ ...good(id), decision: undefined }).replace('"decision":undefined', '"Decision":"allow"'),
  twice: (id) => object(good(id), ',"decision":"allow"'),
  "twice, escaped": (id) => object(good(id), ',"d\\u0065cision":"deny"'),
  prototype: (id) => object({ ...good(id), decision: undefined }).replace('"decision":undefined', '"__proto__":{"decision":"allow"}'),
  "unknown status": (id) => object({ ...good(id), evaluation_status: '"fine"' }),
  failed: (id) => object({ ...good(id), evaluation_status: '"error"' }),
  "another zone": (id) => object({ ...good(id), zone_id: '"z2"' }),
  "another request": () => object(good("another")),
  "no decision id": (id) => object({ ...good(id), decision_id: '""' }),
  "no version": (id) => object({ ...good(id), policy_set_version_id: "null" }),
  "no manifest": (id) => object({ ...good(id), manifest_sha256: "null" }),
  "no hash": (id) => object({ ...good(id), bundle_sha256: '"abc"' }),
  "no diagnostics": (id) => object({ ...good(id), diagnostics: "{}" }),
};

for (const [name, answer] of Object.entries(bad)) {
  test(`bad answer: ${name}`, async () => {
    await against(({ socket, id, body }) => socket.write(http(id, body.startsWith('{"inputs"') ? `{"results":[${answer(id)}]}` : answer(id))), async (c) => {
      await assert.rejects(c.decide(input), { kind: "bad_answer", allowed: false });
      await c.decideBatch([input]).then(
        ([o]) => assert.deepEqual([o.decision.allowed, o.error.kind], [false, "bad_answer"]),
        (e) => assert.equal(e.kind, "bad_answer"),
      );
    });
  });
}

test("a good answer, so that the others fail for their own reason", async () => {
  await against(({ socket, id, body }) => socket.write(http(id, body.startsWith('{"inputs"') ? `{"results":[${object(good(id), ',"more":1')}]}` : object(good(id)))), async (c) => {
    const d = await c.decide(input);
    assert.equal(d.allowed, true);
    assert.equal(d.diagnostics[0].reason, '}]"');
    assert.throws(() => { d.decision = "deny"; }, TypeError);
    assert.equal((await c.decideBatch([input]))[0].decision.allowed, true);
  });
});

test("batches with another number of results", async () => {
  for (const answer of ["{}", "[]", '{"results":null}', '{"results":[]}', '{"results":[GOOD]}', '{"results":[GOOD,GOOD,GOOD]}', '{"Results":[GOOD,GOOD]}', '{"results":[GOOD,GOOD],"results":[GOOD,GOOD]}']) {
    await against(({ socket, id }) => socket.write(http(id, answer.replaceAll("GOOD", object(good(id))))), async (c) => {
      await assert.rejects(c.decideBatch([input, input]), { kind: "bad_answer" }, answer);
    });
  }
  await against(({ socket, id }) => socket.write(http(id, `{"results":[7,${object(good(id), ',"error":"x"')}]}`)), async (c) => {
    for (const o of await c.decideBatch([input, input])) assert.deepEqual([o.decision.allowed, o.error.kind], [false, "bad_answer"]);
  });
});

test("whatever the status, only 200 is a decision", async () => {
  const kinds = { 201: "refused", 302: "refused", 307: "refused", 400: "invalid_input", 401: "unauthorized", 403: "unauthorized", 404: "refused", 413: "invalid_input", 422: "invalid_input", 429: "unavailable", 500: "unavailable", 502: "unavailable", 503: "unavailable" };
  for (const [status, kind] of Object.entries(kinds)) {
    await against(({ socket, id }) => socket.write(http(id, object(good(id), ',"error":"made_up","error_description":"here"'), `${status} X`, "Retry-After: 3\r\nLocation: /v1/decide\r\n")), async (c) => {
      await assert.rejects(c.decide(input), (e) => e.kind === kind && e.status === Number(status) && e.code === "made_up" && e.retryAfterSeconds === 3);
    });
  }
});

test("connections that break, and what is no HTTP", async () => {
  const says = {
    "": "unavailable",
    "SSH-2.0-OpenSSH_9.9\r\n": "bad_answer",
    "HTTP/1.1 200 OK\r\nContent-Le": "unavailable",
    "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{": "unavailable",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n": "bad_answer",
    [`HTTP/1.1 200 OK\r\n\r\n${" ".repeat(5000)}`]: "bad_answer",
    [`HTTP/1.1 200 OK\r\nX: ${"x".repeat(1 << 20)}\r\n\r\n`]: "bad_answer",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff": "bad_answer",
  };
  for (const [text, kind] of Object.entries(says)) {
    await against(({ socket }) => socket.end(Buffer.from(text, "latin1")), async (c) => {
      await assert.rejects(c.decide(input), { kind }, text.slice(0, 60));
    }, { maxAnswerBytes: 4096 });
  }
});

test("a call ends at its deadline, or when it is aborted, and is not made again", async () => {
  let asked = 0;
  let arrived;
  await against(() => { asked++; arrived?.(); }, async (c) => {
    await assert.rejects(c.decide(input), { kind: "unavailable", code: "timeout" });
    assert.ok(asked <= 1, `it was asked ${asked} times`);
  }, { timeoutMs: 100 });
  asked = 0;
  await against(() => { asked++; arrived(); }, async (c) => {
    const abort = new AbortController();
    const there = new Promise((done) => { arrived = done; });
    const call = assert.rejects(c.decide(input, { signal: abort.signal }), { kind: "unavailable", code: "aborted" });
    await there;
    abort.abort();
    await call;
    assert.equal(asked, 1);
    await assert.rejects(c.decide(input, { signal: abort.signal }), { kind: "unavailable", code: "aborted" });
    assert.equal(asked, 1);
  });
});

test("a kept connection that ended unanswered is replaced, once", async () => {
  const seen = [];
  await against(({ socket, id, connection, request }) => {
    seen.push({ id, connection });
    if (connection === 0 && request > 0) socket.destroy();
    else socket.write(http(id, object(good(id))));
  }, async (c) => {
    await c.decide(input);
    assert.equal((await c.decide(input)).allowed, true);
    assert.deepEqual(seen.map((s) => s.connection), [0, 0, 1]);
    assert.equal(seen[1].id, seen[2].id);
  });
  seen.length = 0;
  await against(({ socket, id, connection, request }) => {
    seen.push(id);
    if (connection === 0 && request === 0) socket.write(http(id, object(good(id))));
    else socket.destroy();
  }, async (c) => {
    await c.decide(input);
    await assert.rejects(c.decide(input), { kind: "unavailable" });
    assert.equal(seen.length, 3);
  });
  seen.length = 0;
  await against(({ socket, id, connection, request }) => {
    seen.push(id);
    if (connection === 0 && request === 0) socket.write(http(id, object(good(id))));
    else socket.end("HTTP/1.1 2");
  }, async (c) => {
    await c.decide(input);
    await assert.rejects(c.decide(input), { kind: "unavailable" });
    assert.equal(seen.length, 2);
  });
});

test("an answer that nobody asked for is not taken for the next", async () => {
  await against(({ socket, id }) => socket.write(http(id, object(good(id))) + http(id, object({ ...good(id), decision: '"deny"' }))), async (c) => {
    for (let i = 0; i < 3; i++) assert.equal((await c.decide(input, { requestId: "same" })).allowed, true);
  });
});

test("options, closing, and what denies by itself", async () => {
  for (const options of [{ url: "127.0.0.1:8181" }, { url: "ftp://h" }, { url: "unix:" }, { url: "unix://" }, { url: "http://u:p@h" }, { url: "http://h/?q" }, { token: "a\r\nb" }, { timeoutMs: 0 }, { timeoutMs: NaN }, { maxConnections: -1 }]) {
    assert.throws(() => new DecideClient(options), TypeError, JSON.stringify(options));
  }
  const c = new DecideClient({ url: "http://127.0.0.1:1" });
  c.close();
  await assert.rejects(c.decide(input), { kind: "closed", allowed: false });
  assert.equal(new Decision().allowed, false);
  assert.equal(new Decision({ decision: "allow", evaluation_status: "error" }).allowed, false);
});
