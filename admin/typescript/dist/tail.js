import { Backoff, maxRetryAfterMs } from "./backoff.js";
import { pause } from "./deadline.js";
import { AdminApiError, AdminConnectionError } from "./errors.js";
import { count } from "./options.js";
import { readEvents } from "./sse.js";
const path = "/v1/zones/{zone}/audit/tail";
const defaultIdleTimeoutMs = 45_000;
/**
 * Follows a zone's audit. A stream that is lost is opened again, after the last
 * event that was given, so that none is missed or comes twice.
 */
export async function* tail(operations, zone, options) {
    const idleMs = count("idleTimeoutMs", options.idleTimeoutMs, defaultIdleTimeoutMs);
    const backoff = new Backoff();
    let last = options.lastEventId ?? "";
    for (;;) {
        let failure;
        try {
            for await (const event of follow(operations, zone, options, last, idleMs, (id) => (last = id))) {
                backoff.reset();
                yield event;
                last = event.lastEventId;
            }
        }
        catch (error) {
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
function isMendable(error) {
    if (error instanceof AdminApiError) {
        return error.status >= 500 || error.status === 429;
    }
    return error instanceof AdminConnectionError && error.code !== "invalid_answer";
}
/** Gives the events of one stream, until it ends. */
async function* follow(operations, zone, options, last, idleMs, onId) {
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
    const reader = body.getReader();
    const chunk = async () => {
        deadline.within(idleMs); // only while waiting: how long an event is worked on is the caller's affair
        try {
            return (await deadline.wait(reader.read())).value;
        }
        catch (error) {
            if (deadline.timedOut) {
                throw new AdminConnectionError(call, "timeout", `nothing came within ${idleMs} ms`, error);
            }
            throw deadline.signal.aborted ? deadline.signal.reason : new AdminConnectionError(call, "network_error", "the stream broke off", error);
        }
        finally {
            deadline.within(0);
        }
    };
    try {
        options.onState?.("open");
        for await (const event of readEvents(chunk, onId)) {
            yield read(call, event);
        }
    }
    finally {
        deadline.abort();
        deadline.close();
    }
}
function read(call, event) {
    try {
        return { ...JSON.parse(event.data), lastEventId: event.id };
    }
    catch (error) {
        throw new AdminConnectionError(call, "invalid_answer", "an event of the tail is not JSON", error);
    }
}
