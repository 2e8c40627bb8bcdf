import { drain, iterate } from "../pages.js";
/** Who may call, and as what. */
export class Tokens {
    #operations;
    constructor(operations) {
        this.#operations = operations;
    }
    /** Says whose token the client has. */
    whoAmI(options) {
        return this.#operations.call("get", "/v1/whoami", {}, options);
    }
    /** Lists tokens, newest first, without their secrets. */
    list(query = {}, options) {
        return drain(this.iterate(query, options));
    }
    /** Goes through tokens, newest first. */
    iterate(query = {}, options) {
        return iterate(query.limit, (at) => this.page(at, options));
    }
    /** Reads a page of tokens. */
    page(query = {}, options) {
        return this.#operations.call("get", "/v1/tokens", { query }, options);
    }
    /**
     * Creates a token. Only this answer has its secret, as `token`; where a retry by
     * idempotency key finds the token made, 409 `idempotency_key_used`.
     */
    create(token, options) {
        return this.#operations.call("post", "/v1/tokens", { body: token }, options);
    }
    /** Revokes a token, at once. */
    revoke(tokenId, options) {
        return this.#operations.call("delete", "/v1/tokens/{token}", { path: { token: tokenId } }, options);
    }
}
