import { untilLoaded } from "../activation.js";
import { drain, iterate } from "../pages.js";
/** Named series of manifests: compose, simulate, activate. */
export class PolicySets {
    #operations;
    constructor(operations) {
        this.#operations = operations;
    }
    /** Lists a zone's policy sets, newest first. */
    list(zoneId, query = {}, options) {
        return drain(this.iterate(zoneId, query, options));
    }
    /** Goes through a zone's policy sets, newest first. */
    iterate(zoneId, query = {}, options) {
        return iterate(query.limit, (at) => this.page(zoneId, at, options));
    }
    /** Reads a page of a zone's policy sets. */
    page(zoneId, query = {}, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/policy-sets", { path: { zone: zoneId }, query }, options);
    }
    /** Reads a policy set. */
    get(zoneId, setId, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/policy-sets/{set}", { path: { zone: zoneId, set: setId } }, options);
    }
    /** Creates a policy set. 409 `policy_set_name_conflict`. */
    create(zoneId, name, description, options) {
        const body = description === undefined ? { name } : { name, description };
        return this.#operations.call("post", "/v1/zones/{zone}/policy-sets", { path: { zone: zoneId }, body }, options);
    }
    /** Archives a set; a zone that it governs denies everything from then on. */
    delete(zoneId, setId, options) {
        return this.#operations.call("delete", "/v1/zones/{zone}/policy-sets/{set}", { path: { zone: zoneId, set: setId } }, options);
    }
    /**
     * Makes a version from policy versions, in order. 422 `invalid_policy_contract`
     * for a manifest, `invalid_policy_bundle` for a whole, that cannot be.
     */
    addVersion(zoneId, setId, manifest, options) {
        return this.#operations.call("post", "/v1/zones/{zone}/policy-sets/{set}/versions", { path: { zone: zoneId, set: setId }, body: { manifest } }, options);
    }
    /** Lists a set's versions, newest first. */
    listVersions(zoneId, setId, query = {}, options) {
        return drain(this.iterateVersions(zoneId, setId, query, options));
    }
    /** Goes through a set's versions, newest first. */
    iterateVersions(zoneId, setId, query = {}, options) {
        return iterate(query.limit, (at) => this.pageVersions(zoneId, setId, at, options));
    }
    /** Reads a page of a set's versions. */
    pageVersions(zoneId, setId, query = {}, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/policy-sets/{set}/versions", { path: { zone: zoneId, set: setId }, query }, options);
    }
    /** Reads a version with its manifest and policies. */
    getVersion(zoneId, setId, versionId, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/policy-sets/{set}/versions/{version}", { path: { zone: zoneId, set: setId, version: versionId } }, options);
    }
    /**
     * Evaluates an input by a version, with the engine that serves traffic. Nothing
     * changes. Without an input, only the checks that need none are made, and
     * `result` is null. With `trace`, which needs an input, it tells how the rules
     * came to the result.
     */
    simulate(zoneId, setId, versionId, input, options = {}) {
        const { trace, ...rest } = options;
        return this.#simulate(zoneId, setId, { version_id: versionId, ...(input === undefined ? {} : { input }), ...(trace === true ? { trace } : {}) }, rest);
    }
    /** Evaluates many inputs, up to 1,000, at once; `results` answers them in order. */
    simulateAll(zoneId, setId, versionId, inputs, options = {}) {
        return this.#simulate(zoneId, setId, { version_id: versionId, inputs }, options);
    }
    #simulate(zoneId, setId, asked, options) {
        const { expectedDecision, ...call } = options;
        const body = expectedDecision === undefined ? asked : { ...asked, expected_decision: expectedDecision };
        return this.#operations.call("post", "/v1/zones/{zone}/policy-sets/{set}/simulate", { path: { zone: zoneId, set: setId }, body }, call);
    }
    /**
     * Makes the zone's recent decisions again by a version, on the inputs that the
     * audit kept, and tells which come out otherwise. Nothing changes.
     */
    replay(zoneId, setId, versionId, options = {}) {
        const { limit, decision, since, ...call } = options;
        const body = { version_id: versionId, ...(limit === undefined ? {} : { limit }), ...(decision ? { decision } : {}), ...(since ? { since } : {}) };
        return this.#operations.call("post", "/v1/zones/{zone}/policy-sets/{set}/replay", { path: { zone: zoneId, set: setId }, body }, call);
    }
    /**
     * Moves the zone's pointer to a version; an older one rolls back. The daemons
     * load it then: see {@link activationStatus} and {@link waitUntilLoaded}.
     */
    activate(zoneId, setId, versionId, options = {}) {
        const { expectedActiveVersionId, reason, ...call } = options;
        return this.#operations.call("post", "/v1/zones/{zone}/policy-sets/{set}/activate", {
            path: { zone: zoneId, set: setId },
            body: {
                version_id: versionId,
                ...(expectedActiveVersionId === undefined ? {} : { expected_active_version_id: expectedActiveVersionId }),
                ...(reason === undefined ? {} : { reason }),
            },
        }, call);
    }
    /**
     * Tells how far an activation has come: the pointer, the outbox, the daemons.
     * Without a version or an outbox id, that of the set's active version.
     */
    activationStatus(zoneId, setId, versionId, outboxId, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/policy-sets/{set}/activation-status", {
            path: { zone: zoneId, set: setId },
            query: {
                ...(versionId === undefined ? {} : { version_id: versionId }),
                ...(outboxId === undefined ? {} : { outbox_id: outboxId }),
            },
        }, options);
    }
    /**
     * Waits until the daemons have loaded an activated version. Rejects with a
     * {@link NotLoadedError} where they could not, where another was activated
     * meanwhile, and after `withinMs`.
     */
    waitUntilLoaded(zoneId, setId, versionId, options = {}) {
        const { outboxId, withinMs, intervalMs, onStatus, ...call } = options;
        return untilLoaded(() => this.activationStatus(zoneId, setId, versionId, outboxId, call), { withinMs, intervalMs, onStatus, signal: options.signal }, this.#operations.signal);
    }
}
