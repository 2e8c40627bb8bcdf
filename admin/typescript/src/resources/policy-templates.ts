import { AdminApiError } from "../errors.js";
import type { PolicyTemplate } from "../models.js";
import type { Operations } from "../operations.js";
import type { CallOptions } from "../options.js";

/** Policies to begin with. */
export class PolicyTemplates {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /** Lists the templates. */
  list(options?: CallOptions): Promise<PolicyTemplate[]> {
    return this.#operations.call("get", "/v1/policy-templates", {}, options);
  }

  /** Finds a template in the list; where it is not there, 404 `policy_template_not_found`. */
  async get(id: string, options?: CallOptions): Promise<PolicyTemplate> {
    const found = (await this.list(options)).find((t) => t.id === id);
    if (found === undefined) {
      const body = { error: "policy_template_not_found", error_description: `there is no template ${id}` };
      throw new AdminApiError({ method: "GET", path: "/v1/policy-templates" }, 404, JSON.stringify(body));
    }
    return found;
  }
}
