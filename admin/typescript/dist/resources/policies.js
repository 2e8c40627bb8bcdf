import { drain, iterate } from "../pages.js";
/** Named Rego documents and their immutable versions. */
export class Policies {
    #operations;
    constructor(operations) {
        this.#operations = operations;
    }
    /** Lists a zone's policies, newest first. */
    list(zoneId, query = {}, options) {
        return drain(this.iterate(zoneId, query, options));
    }
    /** Goes through a zone's policies, newest first. */
    iterate(zoneId, query = {}, options) {
        return iterate(query.limit, (at) => this.page(zoneId, at, options));
    }
    /** Reads a page of a zone's policies. */
    page(zoneId, query = {}, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/policies", { path: { zone: zoneId }, query }, options);
    }
    /** Reads a policy with its versions, newest first. */
    get(zoneId, policyId, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/policies/{policy}", { path: { zone: zoneId, policy: policyId } }, options);
    }
    /**
     * Creates a policy with its first version. 409 `policy_name_conflict`; 422
     * `invalid_rego`, whose `errors` say where.
     */
    create(zoneId, policy, options) {
        return this.#operations.call("post", "/v1/zones/{zone}/policies", { path: { zone: zoneId }, body: policy }, options);
    }
    /**
     * Checks content and previews what it reads and decides. Nothing is kept.
     * 422 `invalid_rego`, whose `errors` say where.
     */
    validate(content, options) {
        return this.#operations.call("post", "/v1/policies/validate", { body: { content } }, options);
    }
    /**
     * Runs tests, a document with rules whose names begin with `test_`, against
     * content, and `modules` beside it. Nothing is kept. 422 `invalid_rego`, whose
     * `errors` say in which document (`policy.rego`, `policy_test.rego`, or the name
     * of a module) and where.
     */
    test(test, options) {
        return this.#operations.call("post", "/v1/policies/test", { body: test }, options);
    }
    /** Adds a version to a policy. */
    addVersion(zoneId, policyId, content, options) {
        const body = typeof content === "string" ? { content } : content;
        return this.#operations.call("post", "/v1/zones/{zone}/policies/{policy}/versions", { path: { zone: zoneId, policy: policyId }, body }, options);
    }
    /** Reads a version with its content. */
    getVersion(zoneId, policyId, versionId, options) {
        return this.#operations.call("get", "/v1/zones/{zone}/policies/{policy}/versions/{version}", { path: { zone: zoneId, policy: policyId, version: versionId } }, options);
    }
    /** Archives a policy; set versions that have it keep it. */
    delete(zoneId, policyId, options) {
        return this.#operations.call("delete", "/v1/zones/{zone}/policies/{policy}", { path: { zone: zoneId, policy: policyId } }, options);
    }
    /** Reads the JSON Schema of the input that policies are given. */
    inputSchema(options) {
        return this.#operations.call("get", "/v1/input-schema", {}, options);
    }
}
