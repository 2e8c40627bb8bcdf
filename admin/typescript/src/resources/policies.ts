import type { Policy, PolicyCreate, PolicyTest, PolicyTestReport, PolicyVersion, PolicyVersionCreate, Validation } from "../models.js";
import type { AnswerOf, Operations } from "../operations.js";
import type { CallOptions, WriteOptions } from "../options.js";
import { drain, iterate, type ListQuery, type Page, type PageQuery } from "../pages.js";

/** Named Rego documents and their immutable versions. */
export class Policies {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /** Lists a zone's policies, newest first. */
  list(zoneId: string, query: ListQuery = {}, options?: CallOptions): Promise<Policy[]> {
    return drain(this.iterate(zoneId, query, options));
  }

  /** Goes through a zone's policies, newest first. */
  iterate(zoneId: string, query: ListQuery = {}, options?: CallOptions): AsyncGenerator<Policy, void, undefined> {
    return iterate(query.limit, (at) => this.page(zoneId, at, options));
  }

  /** Reads a page of a zone's policies. */
  page(zoneId: string, query: PageQuery = {}, options?: CallOptions): Promise<Page<Policy>> {
    return this.#operations.call("get", "/v1/zones/{zone}/policies", { path: { zone: zoneId }, query }, options);
  }

  /** Reads a policy with its versions, newest first. */
  get(zoneId: string, policyId: string, options?: CallOptions): Promise<Policy> {
    return this.#operations.call("get", "/v1/zones/{zone}/policies/{policy}", { path: { zone: zoneId, policy: policyId } }, options);
  }

  /**
   * Creates a policy with its first version. 409 `policy_name_conflict`; 422
   * `invalid_rego`, whose `errors` say where.
   */
  create(zoneId: string, policy: PolicyCreate, options?: WriteOptions): Promise<Policy> {
    return this.#operations.call("post", "/v1/zones/{zone}/policies", { path: { zone: zoneId }, body: policy }, options);
  }

  /**
   * Checks content and previews what it reads and decides. Nothing is kept.
   * 422 `invalid_rego`, whose `errors` say where.
   */
  validate(content: string, options?: CallOptions): Promise<Validation> {
    return this.#operations.call("post", "/v1/policies/validate", { body: { content } }, options);
  }

  /**
   * Runs tests, a document with rules whose names begin with `test_`, against
   * content, and `modules` beside it. Nothing is kept. 422 `invalid_rego`, whose
   * `errors` say in which document (`policy.rego`, `policy_test.rego`, or the name
   * of a module) and where.
   */
  test(test: PolicyTest, options?: CallOptions): Promise<PolicyTestReport> {
    return this.#operations.call("post", "/v1/policies/test", { body: test }, options);
  }

  /** Adds a version to a policy. */
  addVersion(zoneId: string, policyId: string, content: string | PolicyVersionCreate, options?: WriteOptions): Promise<PolicyVersion> {
    const body = typeof content === "string" ? { content } : content;
    return this.#operations.call(
      "post",
      "/v1/zones/{zone}/policies/{policy}/versions",
      { path: { zone: zoneId, policy: policyId }, body },
      options,
    );
  }

  /** Reads a version with its content. */
  getVersion(zoneId: string, policyId: string, versionId: string, options?: CallOptions): Promise<PolicyVersion> {
    return this.#operations.call(
      "get",
      "/v1/zones/{zone}/policies/{policy}/versions/{version}",
      { path: { zone: zoneId, policy: policyId, version: versionId } },
      options,
    );
  }

  /** Archives a policy; set versions that have it keep it. */
  delete(zoneId: string, policyId: string, options?: CallOptions): Promise<void> {
    return this.#operations.call("delete", "/v1/zones/{zone}/policies/{policy}", { path: { zone: zoneId, policy: policyId } }, options);
  }

  /** Reads the JSON Schema of the input that policies are given. */
  inputSchema(options?: CallOptions): Promise<AnswerOf<"get", "/v1/input-schema">> {
    return this.#operations.call("get", "/v1/input-schema", {}, options);
  }
}
