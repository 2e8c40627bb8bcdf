import { Backoff, maxRetryAfterMs } from "./backoff.js";
import { pause } from "./deadline.js";
import { AdminApiError, AdminConnectionError } from "./errors.js";
import type { AuditEvent } from "./models.js";
import type { Operations, QueryOf } from "./operations.js";
import { count } from "./options.js";
import { readEvents, type ServerSentEvent } from "./sse.js";

/** An audit event, and the id after which a tail can be taken up again. */
export type TailEvent = AuditEvent & { readonly lastEventId: string };

const path = "/v1/zones/{zone}/audit/tail";

/** Which events a tail gives; all without it. */
export type TailFilter = Omit<QueryOf<typeof path>, "since_id">;

/** Which events a tail gives, and how it is followed. */
export interface TailOptions extends TailFilter {
  /** Ends the tail, which then rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Begins after this event; without it, with what comes from now on. "0" begins with the oldest. */
  lastEventId?: string | undefined;
  /** Bounds how long opening the stream may take, in milliseconds. Default: the client's. */
  timeoutMs?: number | undefined;
  /**
   * Takes a stream on which nothing comes for this long, in milliseconds, for
   * lost. Default 45,000: the control plane sends a sign of life every 15 s.
   */
  idleTimeoutMs?: number | undefined;
  /** Sent beside the client's headers. */
  headers?: Record<string, string> | undefined;
  /** Told when the stream opens, and when it is lost and will be opened again. */
  onState?: ((state: "open" | "lost", error?: unknown) => void) | undefined;
}

const defaultIdleTimeoutMs = 45_000;

/**
 * Follows a zone's audit. A stream that is lost is opened again, after the last
 * event that was given, so that none is missed or comes twice.
 */
export async function* tail(operations: Operations, zone: string, options: TailOptions): AsyncGenerator<TailEvent, void, undefined> {
  const idleMs = count("idleTimeoutMs", options.idleTimeoutMs, defaultIdleTimeoutMs);
  const backoff = new Backoff();
  let last = options.lastEventId ?? "";
  for (;;) {
    let failure: unknown;
    try {
      for await (const event of follow(operations, zone, options, last, idleMs, (id) => (last = id))) {
        backoff.reset();
        yield event;
        last = event.lastEventId;
      }
    } catch (error) {
      if (!isMendable(error)) {
        throw error;
      }
      failure = error;
    }
    options.onState?.("lost", failure);
    const asked = failure instanceof AdminApiError ? failure.retryAfterMs : undefined;
    await pause(asked === undefined ? backoff.next() : Math.min(asked, maxRetryAfterMs), options.signal, operations.signal);
  }
}

/** A refusal stands, however often the tail is opened; all else may pass. */
function isMendable(error: unknown): boolean {
  if (error instanceof AdminApiError) {
    return error.status >= 500 || error.status === 429;
  }
  return error instanceof AdminConnectionError && error.code !== "invalid_answer";
}

/** Gives the events of one stream, until it ends. */
async function* follow(
  operations: Operations,
  zone: string,
  options: TailOptions,
  last: string,
  idleMs: number,
  onId: (id: string) => void,
): AsyncGenerator<TailEvent, void, undefined> {
  const call = { method: "GET", path: path.replace("{zone}", zone) };
  const query = { decision: options.decision, event_type: options.event_type };
  const { response, deadline } = await operations.open(path, { path: { zone }, query }, "text/event-stream", {
    signal: options.signal,
    timeoutMs: options.timeoutMs,
    retries: 0, // the tail itself comes back, for as long as it takes
    headers: last === "" ? options.headers : { ...options.headers, "Last-Event-ID": last },
  });
  const type = response.headers.get("Content-Type") ?? "";
  const body = type.startsWith("text/event-stream") ? response.body : null;
  if (body === null) {
    deadline.abort();
    deadline.close();
    throw new AdminConnectionError(call, "invalid_answer", `the answer is no stream of events, but ${type || "nothing"}`);
  }
  const reader: ReadableStreamDefaultReader<Uint8Array> = body.getReader();
  const chunk = async (): Promise<Uint8Array | undefined> => {
    deadline.within(idleMs); // only while waiting: how long an event is worked on is the caller's affair
    try {
      return (await deadline.wait(reader.read())).value;
    } catch (error) {
      if (deadline.timedOut) {
        throw new AdminConnectionError(call, "timeout", `nothing came within ${idleMs} ms`, error);
      }
      throw deadline.signal.aborted ? deadline.signal.reason : new AdminConnectionError(call, "network_error", "the stream broke off", error);
    } finally {
      deadline.within(0);
    }
  };
  try {
    options.onState?.("open");
    for await (const event of readEvents(chunk, onId)) {
      yield read(call, event);
    }
  } finally {
    deadline.abort();
    deadline.close();
  }
}

function read(call: { method: string; path: string }, event: ServerSentEvent): TailEvent {
  try {
    return { ...(JSON.parse(event.data) as AuditEvent), lastEventId: event.id };
  } catch (error) {
    throw new AdminConnectionError(call, "invalid_answer", "an event of the tail is not JSON", error);
  }
}
