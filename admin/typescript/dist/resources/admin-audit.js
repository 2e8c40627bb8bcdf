import { drain, iterate } from "../pages.js";
import { bytesOf } from "../stream.js";
const path = "/v1/zones/{zone}/admin-audit";
const pathOfAll = "/v1/admin-audit";
/** Who did what. A zone of null is everywhere, what belongs to no zone included. */
export class AdminAudit {
    #operations;
    constructor(operations) {
        this.#operations = operations;
    }
    /** Lists entries, newest first: all that match, in memory. */
    list(zoneId, query = {}, options) {
        return drain(this.iterate(zoneId, query, options));
    }
    /** Goes through entries, newest first, with one page in memory. */
    iterate(zoneId, query = {}, options) {
        const { limit, ...filter } = query;
        return iterate(limit, (at) => this.page(zoneId, { ...filter, ...at }, options));
    }
    /** Reads a page of entries. */
    page(zoneId, query = {}, options) {
        return zoneId === null
            ? this.#operations.call("get", pathOfAll, { query }, options)
            : this.#operations.call("get", path, { path: { zone: zoneId }, query }, options);
    }
    /** Reads entries as a file: all that match, or the newest `limit` of them. */
    async export(zoneId, format, query = {}, options) {
        const asked = { ...query, format };
        const opened = zoneId === null
            ? await this.#operations.open(pathOfAll, { query: asked }, "*/*", options)
            : await this.#operations.open(path, { path: { zone: zoneId }, query: asked }, "*/*", options);
        return bytesOf(opened, "GET", zoneId === null ? pathOfAll : path.replace("{zone}", zoneId));
    }
}
