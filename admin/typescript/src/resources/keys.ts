import type { TrustResponse } from "../models.js";
import type { Operations } from "../operations.js";
import type { CallOptions } from "../options.js";

/** The keys that bundles and pointers are signed with. */
export class Keys {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /** Reads the trust roots, oldest first: each is signed by the one before. */
  trust(options?: CallOptions): Promise<TrustResponse> {
    return this.#operations.call("get", "/v1/trust", {}, options);
  }
}
