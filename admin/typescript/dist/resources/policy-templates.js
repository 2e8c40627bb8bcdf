import { AdminApiError } from "../errors.js";
/** Policies to begin with. */
export class PolicyTemplates {
    #operations;
    constructor(operations) {
        this.#operations = operations;
    }
    /** Lists the templates. */
    list(options) {
        return this.#operations.call("get", "/v1/policy-templates", {}, options);
    }
    /** Finds a template in the list; where it is not there, 404 `policy_template_not_found`. */
    async get(id, options) {
        const found = (await this.list(options)).find((t) => t.id === id);
        if (found === undefined) {
            const body = { error: "policy_template_not_found", error_description: `there is no template ${id}` };
            throw new AdminApiError({ method: "GET", path: "/v1/policy-templates" }, 404, JSON.stringify(body));
        }
        return found;
    }
}
