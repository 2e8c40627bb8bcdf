import { drain, iterate } from "../pages.js";
/** Tenants, and what governs each. */
export class Zones {
    #operations;
    constructor(operations) {
        this.#operations = operations;
    }
    /** Lists the zones that the token reaches, newest first. */
    list(query = {}, options) {
        return drain(this.iterate(query, options));
    }
    /** Goes through the zones, newest first. */
    iterate(query = {}, options) {
        return iterate(query.limit, (at) => this.page(at, options));
    }
    /** Reads a page of the zones. */
    page(query = {}, options) {
        return this.#operations.call("get", "/v1/zones", { query }, options);
    }
    /** Reads a zone. 404 `zone_not_found`. */
    get(zoneId, options) {
        return this.#operations.call("get", "/v1/zones/{zone}", { path: { zone: zoneId } }, options);
    }
    /** Creates a zone, which denies everything to begin with. */
    create(zone, options) {
        return this.#operations.call("post", "/v1/zones", { body: zone }, options);
    }
    /** Changes the fields that are given. */
    patch(zoneId, changes, options) {
        return this.#operations.call("patch", "/v1/zones/{zone}", { path: { zone: zoneId }, body: changes }, options);
    }
    /** Archives a zone; its daemons deny everything from then on. */
    delete(zoneId, options) {
        return this.#operations.call("delete", "/v1/zones/{zone}", { path: { zone: zoneId } }, options);
    }
    /** Reads what governs a zone: set, version, hashes, sequence, since when, by whom. */
    active(zoneId, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/active", { path: { zone: zoneId } }, options);
    }
    /** Lists a zone's activations, newest first. */
    activations(zoneId, query = {}, options) {
        return drain(this.iterateActivations(zoneId, query, options));
    }
    /** Goes through a zone's activations, newest first. */
    iterateActivations(zoneId, query = {}, options) {
        return iterate(query.limit, (at) => this.pageActivations(zoneId, at, options));
    }
    /** Reads a page of a zone's activations. */
    pageActivations(zoneId, query = {}, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/activations", { path: { zone: zoneId }, query }, options);
    }
}
