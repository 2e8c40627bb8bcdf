import type { PolicyTemplate } from "../models.js";
import type { Operations } from "../operations.js";
import type { CallOptions } from "../options.js";
/** Policies to begin with. */
export declare class PolicyTemplates {
    #private;
    constructor(operations: Operations);
    /** Lists the templates. */
    list(options?: CallOptions): Promise<PolicyTemplate[]>;
    /** Finds a template in the list; where it is not there, 404 `policy_template_not_found`. */
    get(id: string, options?: CallOptions): Promise<PolicyTemplate>;
}
