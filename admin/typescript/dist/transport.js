import { Backoff, isPassing, maxRetryAfterMs, retryAfterMs } from "./backoff.js";
import { Deadline, pause } from "./deadline.js";
import { AdminApiError, AdminConnectionError } from "./errors.js";
import { count } from "./options.js";
/** Makes calls: headers, time limits, retries, errors. */
export class Transport {
    settings;
    constructor(settings) {
        this.settings = settings;
    }
    /** Makes a call and reads its answer whole. */
    async send(call, options, read) {
        return this.#retrying(call, options, async (deadline) => {
            const response = await this.#answer(call, options, deadline);
            return deadline.wait(read(response));
        });
    }
    /**
     * Makes a call whose answer is read while it comes. The time limit holds until
     * the answer begins. Whoever reads the stream closes the deadline.
     */
    async open(call, options) {
        return this.#retrying(call, options, async (deadline) => {
            const response = await this.#answer(call, options, deadline);
            deadline.within(0);
            return { response, deadline };
        }, true);
    }
    /** Tries until an attempt succeeds, no other could, or enough were made. */
    async #retrying(call, options, attempt, keep = false) {
        const timeoutMs = count("timeoutMs", options.timeoutMs, this.settings.timeoutMs);
        let left = isRepeatable(call, options) ? count("retries", options.retries, this.settings.retries) : 0;
        const backoff = new Backoff();
        for (;;) {
            const deadline = new Deadline(options.signal, this.settings.signal);
            let done = false;
            try {
                deadline.signal.throwIfAborted();
                deadline.within(timeoutMs);
                const result = await attempt(deadline);
                done = true;
                return result;
            }
            catch (error) {
                const failure = this.#failure(call, error, deadline, timeoutMs);
                const wait = left > 0 ? pauseFor(failure, backoff) : undefined;
                if (wait === undefined) {
                    throw failure;
                }
                left--;
                await pause(wait, options.signal, this.settings.signal);
            }
            finally {
                if (!done || !keep) {
                    deadline.close();
                }
            }
        }
    }
    /** Sends one request, and turns an answer outside 2xx into an error. */
    async #answer(call, options, deadline) {
        const query = call.query?.toString() ?? "";
        const url = this.settings.base + call.path + (query === "" ? "" : `?${query}`);
        const init = {
            method: call.method,
            headers: this.#headers(call, options),
            signal: deadline.signal,
        };
        if (call.body !== undefined) {
            init.body = call.body;
        }
        const response = await deadline.wait(this.settings.fetch(url, init));
        if (response.status >= 200 && response.status <= 299) {
            return response;
        }
        const text = await deadline.wait(response.text());
        throw new AdminApiError(call, response.status, text, {
            statusText: response.statusText,
            requestId: response.headers.get("X-Request-Id") ?? undefined,
            retryAfterMs: retryAfterMs(response.headers.get("Retry-After")),
        });
    }
    /** Puts headers together; a later one of the same name, in any case of letters, counts. */
    #headers(call, options) {
        const { token, headers } = this.settings;
        const all = {};
        const own = { Accept: call.accept, ...call.headers };
        if (token !== "") {
            own["Authorization"] = `Bearer ${token}`;
        }
        if (call.body !== undefined) {
            own["Content-Type"] = "application/json";
        }
        if (options.idempotencyKey !== undefined) {
            own["Idempotency-Key"] = options.idempotencyKey;
        }
        const names = new Map();
        for (const part of [headers, options.headers ?? {}, own]) {
            for (const [name, value] of Object.entries(part)) {
                const before = names.get(name.toLowerCase());
                if (before !== undefined) {
                    delete all[before];
                }
                names.set(name.toLowerCase(), name);
                all[name] = value;
            }
        }
        return all;
    }
    /** Says what an error means: the caller's own abort, the time, the network, or the API. */
    #failure(call, error, deadline, timeoutMs) {
        for (const own of [AdminApiError, AdminConnectionError]) {
            if (error instanceof own) {
                return error;
            }
        }
        if (deadline.timedOut) {
            return new AdminConnectionError(call, "timeout", `no answer within ${timeoutMs} ms`, error);
        }
        if (deadline.signal.aborted) {
            return deadline.signal.reason;
        }
        return new AdminConnectionError(call, "network_error", reasonOf(error), error);
    }
}
/** Repeating a safe method changes nothing more, nor does a write that the control plane knows by its key. */
function isRepeatable(call, options) {
    return call.method === "GET" || call.method === "HEAD" || options.idempotencyKey !== undefined;
}
/** How long to wait before another attempt; undefined where none would help. */
function pauseFor(failure, backoff) {
    if (failure instanceof AdminApiError) {
        if (!isPassing(failure.status)) {
            return undefined;
        }
        const asked = failure.retryAfterMs;
        if (asked !== undefined) {
            return asked <= maxRetryAfterMs ? asked : undefined;
        }
        return backoff.next();
    }
    if (failure instanceof AdminConnectionError && failure.code !== "invalid_answer") {
        return backoff.next();
    }
    return undefined;
}
/** The reason of a failed fetch, which browsers and Node keep in different places. */
function reasonOf(error) {
    if (!(error instanceof Error)) {
        return String(error);
    }
    const { cause } = error;
    return cause instanceof Error && cause.message !== "" ? `${error.message}: ${cause.message}` : error.message;
}
