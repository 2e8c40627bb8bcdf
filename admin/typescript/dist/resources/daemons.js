import { drain, iterate } from "../pages.js";
/** The fleet: which daemons there are and what each has loaded. A zone of null is every zone. */
export class Daemons {
    #operations;
    constructor(operations) {
        this.#operations = operations;
    }
    /** Lists the daemons that have reported. */
    list(zoneId = null, query = {}, options) {
        return drain(this.iterate(zoneId, query, options));
    }
    /** Goes through the daemons that have reported. */
    iterate(zoneId = null, query = {}, options) {
        return iterate(query.limit, (at) => this.page(zoneId, at, options));
    }
    /** Reads a page of the daemons that have reported. */
    page(zoneId = null, query = {}, options) {
        return zoneId === null
            ? this.#operations.call("get", "/v1/daemons", { query }, options)
            : this.#operations.call("get", "/v1/zones/{zone}/daemons", { path: { zone: zoneId }, query }, options);
    }
}
