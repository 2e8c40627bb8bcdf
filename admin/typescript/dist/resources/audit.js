import { parseExactly } from "../exact.js";
import { drain, iterate } from "../pages.js";
import { bytesOf } from "../stream.js";
import { tail } from "../tail.js";
const path = "/v1/zones/{zone}/audit";
/** What was decided, on which input, by which policies. */
export class Audit {
    #operations;
    constructor(operations) {
        this.#operations = operations;
    }
    /**
     * Lists a zone's events, newest first: all that match, in memory. Give a
     * `limit`, or use {@link iterate} or {@link page}, where they may be many.
     */
    list(zoneId, query = {}, options) {
        return drain(this.iterate(zoneId, query, options));
    }
    /** Goes through a zone's events, newest first, with one page in memory. */
    iterate(zoneId, query = {}, options) {
        const { limit, ...filter } = query;
        return iterate(limit, (at) => this.page(zoneId, { ...filter, ...at }, options));
    }
    /** Reads a page of a zone's events. */
    page(zoneId, query = {}, options) {
        return this.#operations.call("get", path, { path: { zone: zoneId }, query }, options);
    }
    /**
     * Reads events as a file: all that match, or the newest `limit` of them. The
     * stream fails where the answer breaks off.
     */
    async export(zoneId, format, query = {}, options) {
        const opened = await this.#operations.open(path, { path: { zone: zoneId }, query: { ...query, format } }, "*/*", options);
        return bytesOf(opened, "GET", path.replace("{zone}", zoneId));
    }
    /**
     * Counts a zone's decisions by step of time and by daemon: the last hour by the
     * minute, where nothing else is asked for.
     */
    summary(zoneId, query = {}, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/audit/summary", { path: { zone: zoneId }, query }, options);
    }
    /** Lists a request's events, oldest first. 404 `request_not_found`. */
    byRequest(zoneId, requestId, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/audit/by-request/{request}", { path: { zone: zoneId, request: requestId } }, options);
    }
    /**
     * Explains a request: what was decided, by which policies, and for each decision
     * the input that was evaluated, which can be simulated as it is: numbers that
     * JavaScript would round are sent as they were. 404 `request_not_found`, also in
     * the moment before the daemon has shipped it.
     */
    explain(zoneId, requestId, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/audit/by-request/{request}/explain", { path: { zone: zoneId, request: requestId } }, options, parseExactly);
    }
    /**
     * Follows a zone's events as they arrive, for as long as it is iterated. A lost
     * connection is made again, and goes on after the last event that was given:
     * none is missed, none comes twice. A refusal ends it with an error.
     */
    tail(zoneId, options = {}) {
        return tail(this.#operations, zoneId, options);
    }
}
