// Servers that do what a good one never does.
import { createServer } from "node:http";
import { connect, createServer as createTcpServer } from "node:net";
import { after } from "node:test";

/**
 * @typedef {{ method: string, url: string, headers: import("node:http").IncomingHttpHeaders, body: string, at: number }} Seen
 */

/**
 * Serves one answer after the other; the last one is given again and again.
 * @param {...((response: import("node:http").ServerResponse, seen: Seen) => void)} answers
 */
export async function faults(...answers) {
  /** @type {Seen[]} */
  const seen = [];
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text) => (body += text));
    request.on("end", () => {
      const call = { method: request.method ?? "", url: request.url ?? "", headers: request.headers, body, at: performance.now() };
      seen.push(call);
      answers[Math.min(seen.length, answers.length) - 1]?.(response, call);
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { url: `http://127.0.0.1:${port}`, seen };
}

/**
 * Answers JSON.
 * @param {number} status
 * @param {unknown} body
 * @param {Record<string, string>} [headers]
 * @returns {(response: import("node:http").ServerResponse) => void}
 */
export const json = (status, body, headers = {}) => (response) => {
  response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
};

/** Breaks the connection off. @param {import("node:http").ServerResponse} response */
export const hangUp = (response) => response.destroy();

/** Never answers. */
export const silence = () => {};

/** A list with nothing in it. */
export const empty = json(200, { items: [], next_cursor: null });

/**
 * Passes bytes on to a server, and breaks each connection off once the answers
 * on it are longer than what is allowed.
 * @param {string} target
 * @param {(connection: number) => number} allowed most bytes of answers on the connection of a number, from 0
 */
export async function cutter(target, allowed) {
  const { hostname, port } = new URL(target);
  /** @type {Set<import("node:net").Socket>} */
  const open = new Set();
  const state = { connections: 0 };
  const server = createTcpServer((near) => {
    let left = allowed(state.connections++);
    const far = connect(Number(port), hostname);
    for (const socket of [near, far]) {
      open.add(socket);
      socket.on("close", () => open.delete(socket));
      socket.on("error", () => socket.destroy());
    }
    near.pipe(far);
    far.on("data", (/** @type {Buffer} */ data) => {
      if (data.length < left) {
        left -= data.length;
        near.write(data);
        return;
      }
      near.end(data.subarray(0, left));
      left = 0;
      far.destroy();
    });
    far.on("end", () => near.end());
    near.on("close", () => far.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  after(() => {
    for (const socket of open) {
      socket.destroy();
    }
    server.close();
  });
  const address = /** @type {import("node:net").AddressInfo} */ (server.address());
  return { url: `http://127.0.0.1:${address.port}`, state };
}
