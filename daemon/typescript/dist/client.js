import { randomUUID } from "node:crypto";
import { readBatch, readDecision } from "./decision.js";
import { badAnswer, DecideError, invalidInput, refusal } from "./errors.js";
import { encode } from "./input.js";
import { Transport } from "./transport.js";
/** Asks one daemon. It connects when it is first asked. */
export class DecideClient {
    #transport;
    #options;
    #timeoutMs;
    #closed = false;
    constructor(options = {}) {
        const positive = (name, byItself) => {
            const value = options[name] ?? byItself;
            if (!Number.isInteger(value) || value <= 0 || value > 0x7fffffff)
                throw new TypeError(`${name} must be a positive whole number`);
            return value;
        };
        if (options.token !== undefined && !/^[\x20-\x7e]*$/.test(options.token))
            throw new TypeError("token has characters that no header can carry");
        this.#options = { ...options };
        this.#timeoutMs = positive("timeoutMs", 2000);
        this.#transport = new Transport(options.url ?? "http://127.0.0.1:8181", {
            maxConnections: positive("maxConnections", 128),
            idleTimeoutMs: positive("idleTimeoutMs", 90_000),
            maxAnswerBytes: positive("maxAnswerBytes", 16 << 20),
            ...(options.tls && { tls: options.tls }),
        });
    }
    /** Asks for a decision on an input, or on JSON text, which is sent as it is. Rejects with a DecideError. */
    async decide(input, options = {}) {
        const { text, zone } = encode(input);
        const requestId = idOf(options);
        const answer = await this.#ask("POST", "/v1/decide", text, requestId, options.signal);
        return readDecision(parsed(answer, requestId), zone, requestId);
    }
    /**
     * Asks for decisions on several inputs in one call; each is a decision of its
     * own. There is one outcome for each input, in order. Rejects with a
     * DecideError where the call as a whole fails.
     */
    async decideBatch(inputs, options = {}) {
        const list = inputs.map((input) => encode(input));
        const requestId = idOf(options);
        if (list.length === 0)
            return [];
        const body = `{"inputs":[${list.map(({ text }) => text).join(",")}]}`;
        const answer = await this.#ask("POST", "/v1/decide/batch", body, requestId, options.signal);
        return readBatch(parsed(answer, requestId), list.map(({ zone }) => zone), requestId);
    }
    /** Resolves when the daemon is ready to decide: it has loaded its zones. Rejects with a DecideError. */
    async ready(options = {}) {
        await this.#ask("GET", "/readyz", undefined, idOf(options), options.signal);
    }
    /** Closes all connections. Calls under way and later ones fail. */
    close() {
        this.#closed = true;
        this.#transport.close();
    }
    /** Makes a call by the deadline; what is not 200 is a rejection. */
    async #ask(method, path, body, requestId, signal) {
        if (this.#closed)
            throw new DecideError("closed", "closed", "the client is closed", { requestId });
        const ends = new AbortController();
        const late = setTimeout(() => ends.abort("timeout"), this.#timeoutMs);
        const aborted = () => ends.abort("aborted");
        if (signal?.aborted)
            aborted();
        signal?.addEventListener("abort", aborted, { once: true });
        try {
            ends.signal.throwIfAborted();
            const answer = await this.#transport.send(method, path, this.#headers(body, requestId), body, ends.signal, requestId);
            if (answer.status !== 200)
                throw refused(answer, requestId);
            return answer;
        }
        catch (cause) {
            if (ends.signal.aborted && !(cause instanceof DecideError && cause.status !== undefined)) {
                const code = String(ends.signal.reason);
                throw new DecideError("unavailable", code, code === "timeout" ? `the daemon did not answer within ${this.#timeoutMs} ms` : "the call was aborted", { requestId, cause });
            }
            if (this.#closed)
                throw new DecideError("closed", "closed", "the client is closed", { requestId, cause });
            throw cause;
        }
        finally {
            clearTimeout(late);
            signal?.removeEventListener("abort", aborted);
        }
    }
    #headers(body, requestId) {
        const injected = {};
        this.#options.inject?.(injected);
        const headers = {};
        for (const [name, value] of Object.entries(injected)) {
            const lower = name.toLowerCase();
            if (/^[a-z0-9_-]+$/.test(lower) && !RESERVED.has(lower) && typeof value === "string" && /^[\x20-\x7e]*$/.test(value))
                headers[lower] = value;
        }
        headers["accept"] = "application/json";
        headers["user-agent"] = "caracal-decide-node";
        headers["x-request-id"] = requestId;
        if (this.#options.token)
            headers["authorization"] = `Bearer ${this.#options.token}`;
        if (body !== undefined) {
            headers["content-type"] = "application/json";
            headers["content-length"] = Buffer.byteLength(body);
        }
        return headers;
    }
}
/** Headers that are the client's own. */
const RESERVED = new Set("host content-length content-type transfer-encoding connection expect upgrade te trailer authorization x-request-id accept accept-encoding user-agent".split(" "));
function idOf(options) {
    const id = options.requestId ?? randomUUID();
    // The answer has to bear it, and the daemon would replace another.
    if (!/^[A-Za-z0-9_.:-]{1,128}$/.test(id))
        throw invalidInput("requestId is not [A-Za-z0-9_.:-]{1,128}");
    return id;
}
/** The text of an answer that is JSON. */
function parsed(answer, requestId) {
    try {
        JSON.parse(answer.text);
    }
    catch (cause) {
        throw badAnswer("it is not JSON", requestId, cause);
    }
    return answer.text;
}
function refused(answer, requestId) {
    const seconds = Number(answer.headers["retry-after"]);
    const pause = Number.isInteger(seconds) && seconds > 0 && seconds <= 3600 ? seconds : undefined;
    let body = null;
    try {
        body = JSON.parse(answer.text);
    }
    catch {
        // Something between here and the daemon may answer in HTML; the status says enough.
    }
    const code = typeof body?.error === "string" && body.error !== "" ? body.error : `http_${answer.status}`;
    const description = typeof body?.error_description === "string" ? body.error_description : "";
    return refusal(answer.status, code, description, requestId, pause);
}
