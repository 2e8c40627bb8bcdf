import type { Token, TokenCreate, TokenCreated, WhoAmI } from "../models.js";
import type { Operations } from "../operations.js";
import type { CallOptions, WriteOptions } from "../options.js";
import { type ListQuery, type Page, type PageQuery } from "../pages.js";
/** Who may call, and as what. */
export declare class Tokens {
    #private;
    constructor(operations: Operations);
    /** Says whose token the client has. */
    whoAmI(options?: CallOptions): Promise<WhoAmI>;
    /** Lists tokens, newest first, without their secrets. */
    list(query?: ListQuery, options?: CallOptions): Promise<Token[]>;
    /** Goes through tokens, newest first. */
    iterate(query?: ListQuery, options?: CallOptions): AsyncGenerator<Token, void, undefined>;
    /** Reads a page of tokens. */
    page(query?: PageQuery, options?: CallOptions): Promise<Page<Token>>;
    /**
     * Creates a token. Only this answer has its secret, as `token`; where a retry by
     * idempotency key finds the token made, 409 `idempotency_key_used`.
     */
    create(token: TokenCreate, options?: WriteOptions): Promise<TokenCreated>;
    /** Revokes a token, at once. */
    revoke(tokenId: string, options?: CallOptions): Promise<void>;
}
