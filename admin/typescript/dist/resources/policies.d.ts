import type { Policy, PolicyCreate, PolicyTest, PolicyTestReport, PolicyVersion, PolicyVersionCreate, Validation } from "../models.js";
import type { AnswerOf, Operations } from "../operations.js";
import type { CallOptions, WriteOptions } from "../options.js";
import { type ListQuery, type Page, type PageQuery } from "../pages.js";
/** Named Rego documents and their immutable versions. */
export declare class Policies {
    #private;
    constructor(operations: Operations);
    /** Lists a zone's policies, newest first. */
    list(zoneId: string, query?: ListQuery, options?: CallOptions): Promise<Policy[]>;
    /** Goes through a zone's policies, newest first. */
    iterate(zoneId: string, query?: ListQuery, options?: CallOptions): AsyncGenerator<Policy, void, undefined>;
    /** Reads a page of a zone's policies. */
    page(zoneId: string, query?: PageQuery, options?: CallOptions): Promise<Page<Policy>>;
    /** Reads a policy with its versions, newest first. */
    get(zoneId: string, policyId: string, options?: CallOptions): Promise<Policy>;
    /**
     * Creates a policy with its first version. 409 `policy_name_conflict`; 422
     * `invalid_rego`, whose `errors` say where.
     */
    create(zoneId: string, policy: PolicyCreate, options?: WriteOptions): Promise<Policy>;
    /**
     * Checks content and previews what it reads and decides. Nothing is kept.
     * 422 `invalid_rego`, whose `errors` say where.
     */
    validate(content: string, options?: CallOptions): Promise<Validation>;
    /**
     * Runs tests, a document with rules whose names begin with `test_`, against
     * content, and `modules` beside it. Nothing is kept. 422 `invalid_rego`, whose
     * `errors` say in which document (`policy.rego`, `policy_test.rego`, or the name
     * of a module) and where.
     */
    test(test: PolicyTest, options?: CallOptions): Promise<PolicyTestReport>;
    /** Adds a version to a policy. */
    addVersion(zoneId: string, policyId: string, content: string | PolicyVersionCreate, options?: WriteOptions): Promise<PolicyVersion>;
    /** Reads a version with its content. */
    getVersion(zoneId: string, policyId: string, versionId: string, options?: CallOptions): Promise<PolicyVersion>;
    /** Archives a policy; set versions that have it keep it. */
    delete(zoneId: string, policyId: string, options?: CallOptions): Promise<void>;
    /** Reads the JSON Schema of the input that policies are given. */
    inputSchema(options?: CallOptions): Promise<AnswerOf<"get", "/v1/input-schema">>;
}
