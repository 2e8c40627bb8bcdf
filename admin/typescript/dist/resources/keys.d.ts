import type { TrustResponse } from "../models.js";
import type { Operations } from "../operations.js";
import type { CallOptions } from "../options.js";
/** The keys that bundles and pointers are signed with. */
export declare class Keys {
    #private;
    constructor(operations: Operations);
    /** Reads the trust roots, oldest first: each is signed by the one before. */
    trust(options?: CallOptions): Promise<TrustResponse>;
}
