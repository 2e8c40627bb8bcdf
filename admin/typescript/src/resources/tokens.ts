import type { Token, TokenCreate, TokenCreated, WhoAmI } from "../models.js";
import type { Operations } from "../operations.js";
import type { CallOptions, WriteOptions } from "../options.js";
import { drain, iterate, type ListQuery, type Page, type PageQuery } from "../pages.js";

/** Who may call, and as what. */
export class Tokens {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /** Says whose token the client has. */
  whoAmI(options?: CallOptions): Promise<WhoAmI> {
    return this.#operations.call("get", "/v1/whoami", {}, options);
  }

  /** Lists tokens, newest first, without their secrets. */
  list(query: ListQuery = {}, options?: CallOptions): Promise<Token[]> {
    return drain(this.iterate(query, options));
  }

  /** Goes through tokens, newest first. */
  iterate(query: ListQuery = {}, options?: CallOptions): AsyncGenerator<Token, void, undefined> {
    return iterate(query.limit, (at) => this.page(at, options));
  }

  /** Reads a page of tokens. */
  page(query: PageQuery = {}, options?: CallOptions): Promise<Page<Token>> {
    return this.#operations.call("get", "/v1/tokens", { query }, options);
  }

  /**
   * Creates a token. Only this answer has its secret, as `token`; where a retry by
   * idempotency key finds the token made, 409 `idempotency_key_used`.
   */
  create(token: TokenCreate, options?: WriteOptions): Promise<TokenCreated> {
    return this.#operations.call("post", "/v1/tokens", { body: token }, options);
  }

  /** Revokes a token, at once. */
  revoke(tokenId: string, options?: CallOptions): Promise<void> {
    return this.#operations.call("delete", "/v1/tokens/{token}", { path: { token: tokenId } }, options);
  }
}
