import type { AnswerOf, Operations } from "../operations.js";
import type { CallOptions } from "../options.js";
/** What daemons load: compressed bundles under their hashes, with their signatures. */
export declare class Bundles {
    #private;
    constructor(operations: Operations);
    /**
     * Reads a compressed bundle and checks that its SHA-256 is the one asked for.
     * The check needs Web Crypto, which browsers have on https and localhost only.
     */
    get(sha256: string, options?: CallOptions): Promise<Uint8Array>;
    /** Reads the signature of a bundle, a DSSE envelope. */
    envelope(sha256: string, options?: CallOptions): Promise<AnswerOf<"get", "/v1/bundles/{sha256}/envelope">>;
}
