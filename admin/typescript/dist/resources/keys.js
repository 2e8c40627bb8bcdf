/** The keys that bundles and pointers are signed with. */
export class Keys {
    #operations;
    constructor(operations) {
        this.#operations = operations;
    }
    /** Reads the trust roots, oldest first: each is signed by the one before. */
    trust(options) {
        return this.#operations.call("get", "/v1/trust", {}, options);
    }
}
