import http from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import type { ConnectionOptions } from "node:tls";

import { badAnswer, DecideError } from "./errors.js";

/** What a request was answered. */
export interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
}

/** Where the daemon is, and connections to it that are kept open. */
export class Transport {
  readonly #agent: http.Agent;
  readonly #request: typeof http.request;
  readonly #at: http.RequestOptions;
  readonly #base: string;
  readonly #most: number;

  constructor(url: string, options: { maxConnections: number; idleTimeoutMs: number; maxAnswerBytes: number; tls?: ConnectionOptions }) {
    const keep = { keepAlive: true, maxSockets: options.maxConnections, maxFreeSockets: options.maxConnections, scheduling: "lifo", timeout: options.idleTimeoutMs } as const;
    this.#most = options.maxAnswerBytes;
    if (url.startsWith("unix:")) {
      const path = url.slice("unix:".length).replace(/^\/\//, "");
      if (path === "") throw new TypeError(`${url} names no socket`);
      this.#at = { socketPath: path, host: "localhost" };
      this.#base = "";
      this.#request = http.request;
      this.#agent = new http.Agent(keep);
      return;
    }
    const u = new URL(url);
    if ((u.protocol !== "http:" && u.protocol !== "https:") || u.username !== "" || u.password !== "" || u.search !== "" || u.hash !== "") {
      throw new TypeError(`${url} is not like http://HOST:PORT, https://HOST:PORT or unix:///PATH`);
    }
    const secure = u.protocol === "https:";
    this.#at = { host: u.hostname.replace(/^\[|\]$/g, ""), port: u.port || (secure ? 443 : 80) };
    this.#base = u.pathname.replace(/\/+$/, "");
    this.#request = secure ? https.request : http.request;
    this.#agent = secure ? new https.Agent({ ...keep, ...options.tls }) : new http.Agent(keep);
  }

  /** Closes all connections; what is under way fails. */
  close(): void {
    this.#agent.destroy();
  }

  /**
   * Makes a request, over a kept connection or a new one.
   *
   * It sends a request twice in one case only: a connection that had served
   * before ended without a byte of an answer. That is what a connection looks
   * like which the daemon closed while it was idle, and then nobody has read
   * the request. It can also be that the daemon decided and died before it
   * answered. Deciding changes nothing but the audit, so asking again is still
   * safe; the audit may then have two records, which the X-Request-Id that both
   * requests bear shows to be one call.
   */
  async send(method: string, path: string, headers: http.OutgoingHttpHeaders, body: string | undefined, signal: AbortSignal, requestId: string): Promise<Answer> {
    try {
      return await this.#once(method, path, headers, body, signal, requestId);
    } catch (error) {
      if (!(error instanceof Stale) || signal.aborted) throw error;
    }
    // The others are likely as stale as that one.
    for (const list of Object.values(this.#agent.freeSockets)) for (const socket of list ?? []) socket.destroy();
    return await this.#once(method, path, headers, body, signal, requestId);
  }

  #once(method: string, path: string, headers: http.OutgoingHttpHeaders, body: string | undefined, signal: AbortSignal, requestId: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const req = this.#request({ ...this.#at, agent: this.#agent, method, path: this.#base + path, headers, signal });
      let socket: Socket | undefined;
      let before = 0;
      req.on("socket", (s: Socket) => {
        socket = s;
        before = s.bytesRead;
      });
      // Idle sockets end by the agent's timeout; one with a call on it ends by the call's own.
      req.on("timeout", () => undefined);
      req.on("error", (cause: NodeJS.ErrnoException) => {
        const silent = socket === undefined || socket.bytesRead === before;
        if (cause.code?.startsWith("HPE_")) reject(badAnswer("it is no HTTP", requestId, cause));
        else if (req.reusedSocket && silent && !signal.aborted) reject(new Stale(cause, requestId));
        else reject(unavailable(cause, requestId));
      });
      req.on("response", (res) => {
        const chunks: Buffer[] = [];
        let size = 0;
        res.on("data", (chunk: Buffer) => {
          chunks.push(chunk);
          size += chunk.length;
          if (size > this.#most) {
            reject(badAnswer("it is too long", requestId));
            req.destroy();
          }
        });
        res.on("error", (cause) => reject(unavailable(cause, requestId)));
        res.on("close", () => {
          if (!res.complete) reject(unavailable(new Error("the answer broke off"), requestId));
        });
        res.on("end", () => {
          // A connection whose answers may be out of step with the requests is not used again.
          if (res.headers["x-request-id"] !== requestId) socket?.destroy();
          try {
            resolve({ status: res.statusCode ?? 0, headers: res.headers, text: new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks)) });
          } catch (cause) {
            reject(badAnswer("it is not UTF-8", requestId, cause));
          }
        });
      });
      req.end(body);
    });
  }
}

function unavailable(cause: NodeJS.ErrnoException, requestId: string): DecideError {
  return new DecideError("unavailable", cause.code ?? "connection_failed", `the daemon is unavailable: ${cause.message}`, { requestId, cause });
}

/** A used connection ended without a byte of an answer. */
class Stale extends DecideError {
  constructor(cause: NodeJS.ErrnoException, requestId: string) {
    super("unavailable", cause.code ?? "connection_failed", `the daemon is unavailable: ${cause.message}`, { requestId, cause });
  }
}
