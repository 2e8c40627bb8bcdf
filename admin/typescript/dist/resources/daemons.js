import { drain, iterate } from "../pages.js";
/** The fleet: which daemons there are, how they are, and what each has loaded. A zone of null is every zone. */
export class Daemons {
    #operations;
    constructor(operations) {
        this.#operations = operations;
    }
    /** Lists daemons, by id: all that match, in memory. Retired ones are only listed where they are asked for. */
    list(zoneId = null, query = {}, options) {
        return drain(this.iterate(zoneId, query, options));
    }
    /** Goes through daemons, by id, with one page in memory. */
    iterate(zoneId = null, query = {}, options) {
        const { limit, ...filter } = query;
        return iterate(limit, (at) => this.page(zoneId, { ...filter, ...at }, options));
    }
    /** Reads a page of daemons. */
    page(zoneId = null, query = {}, options) {
        return zoneId === null
            ? this.#operations.call("get", "/v1/daemons", { query }, options)
            : this.#operations.call("get", "/v1/zones/{zone}/daemons", { path: { zone: zoneId }, query }, options);
    }
    /** Reads a daemon with all of its zones. 404 `daemon_not_found`. */
    get(daemonId, options) {
        return this.#operations.call("get", "/v1/daemons/{daemon}", { path: { daemon: daemonId } }, options);
    }
    /**
     * Retires a daemon that is gone: activations wait for it no more, and the next
     * token or certificate to report for it has it. One that reports again is back.
     */
    retire(daemonId, options) {
        return this.#operations.call("delete", "/v1/daemons/{daemon}", { path: { daemon: daemonId } }, options);
    }
    /** Counts daemons by state and version. */
    fleet(zoneId = null, filter = {}, options) {
        return this.#operations.call("get", "/v1/fleet", { query: { ...filter, zone: zoneId } }, options);
    }
}
