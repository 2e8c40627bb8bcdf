/** A function like the global `fetch`. */
export type FetchImpl = (input: string, init: RequestInit) => Promise<Response>;

/** How an {@link AdminClient} calls. */
export interface AdminClientOptions {
  /** Where the admin API is, such as `http://127.0.0.1:3000`; a path is kept as a prefix. */
  apiUrl: string;
  /** Bearer token. "" sends none, for where a proxy or a cookie signs in. */
  adminToken: string;
  /** Used in the place of the global `fetch`. */
  fetchImpl?: FetchImpl | undefined;
  /** Bounds each attempt of a call, in milliseconds. Default 30,000; 0 is no bound. */
  timeoutMs?: number | undefined;
  /** How often a call that failed for a passing reason is tried again. Default 3. */
  retries?: number | undefined;
  /** Ends all calls of the client. */
  signal?: AbortSignal | undefined;
  /** Sent with every call. */
  headers?: Record<string, string> | undefined;
}

/** What one call may do differently from its client. */
export interface CallOptions {
  /** Ends the call, which then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** As {@link AdminClientOptions.timeoutMs}. */
  timeoutMs?: number | undefined;
  /** As {@link AdminClientOptions.retries}. */
  retries?: number | undefined;
  /** Sent beside the client's headers, and before them in importance. */
  headers?: Record<string, string> | undefined;
}

/** Options of a call that creates something. */
export interface WriteOptions extends CallOptions {
  /**
   * 1 to 255 printable characters, fresh for each thing to be done. The control
   * plane does the same call with the same key once, so a write that has one is
   * retried like a read.
   */
  idempotencyKey?: string | undefined;
}

/** The settings of a client, with its defaults filled in. */
export interface Settings {
  readonly base: string;
  readonly token: string;
  readonly fetch: FetchImpl;
  readonly timeoutMs: number;
  readonly retries: number;
  readonly signal: AbortSignal | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

const defaultTimeoutMs = 30_000;
const defaultRetries = 3;

/** Checks options and fills defaults in. Throws a TypeError that names what is wrong. */
export function settle(options: AdminClientOptions): Settings {
  const { apiUrl, adminToken, fetchImpl } = options;
  if (typeof adminToken !== "string") {
    throw new TypeError("adminToken is missing");
  }
  if (/[^\x21-\x7e]/.test(adminToken)) {
    throw new TypeError("adminToken has characters that no token has, such as a line's end");
  }
  return {
    base: baseOf(apiUrl),
    token: adminToken,
    // Called without a receiver: a browser's fetch refuses any but the window.
    fetch: fetchImpl === undefined ? (input, init) => fetch(input, init) : (input, init) => fetchImpl(input, init),
    timeoutMs: count("timeoutMs", options.timeoutMs, defaultTimeoutMs),
    retries: count("retries", options.retries, defaultRetries),
    signal: options.signal,
    headers: { ...options.headers },
  };
}

function baseOf(apiUrl: string): string {
  let url: URL;
  try {
    url = new URL(apiUrl);
  } catch {
    throw new TypeError(apiUrl ? `apiUrl is no URL: ${apiUrl}` : "apiUrl is missing");
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new TypeError(`apiUrl is no http or https URL: ${apiUrl}`);
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw new TypeError("apiUrl has more than a scheme, a host and a path");
  }
  return url.origin + url.pathname.replace(/\/+$/, "");
}

/** Checks a number of milliseconds or of times. */
export function count(name: string, value: number | undefined, otherwise: number): number {
  if (value === undefined) {
    return otherwise;
  }
  if (!Number.isFinite(value) || value < 0) {
    throw new TypeError(`${name} must be a number from 0, not ${value}`);
  }
  return value;
}
