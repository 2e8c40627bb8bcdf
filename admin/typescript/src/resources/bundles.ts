import { AdminConnectionError } from "../errors.js";
import type { AnswerOf, Operations } from "../operations.js";
import type { CallOptions } from "../options.js";

const mediaType = "application/vnd.caracal.bundle+zstd";

/** What daemons load: compressed bundles under their hashes, with their signatures. */
export class Bundles {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /**
   * Reads a compressed bundle and checks that its SHA-256 is the one asked for.
   * The check needs Web Crypto, which browsers have on https and localhost only.
   */
  async get(sha256: string, options?: CallOptions): Promise<Uint8Array> {
    const call = { method: "GET", path: `/v1/bundles/${sha256}` };
    if (globalThis.crypto?.subtle === undefined) {
      throw new AdminConnectionError(call, "invalid_answer", "the bundle's hash cannot be checked here: there is no Web Crypto");
    }
    const data = await this.#operations.bytes("/v1/bundles/{sha256}", { path: { sha256 } }, mediaType, options);
    const hash = await crypto.subtle.digest("SHA-256", data as BufferSource);
    const got = Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (got !== sha256) {
      throw new AdminConnectionError(call, "invalid_answer", `what came has the SHA-256 ${got}`);
    }
    return data;
  }

  /** Reads the signature of a bundle, a DSSE envelope. */
  envelope(sha256: string, options?: CallOptions): Promise<AnswerOf<"get", "/v1/bundles/{sha256}/envelope">> {
    return this.#operations.call("get", "/v1/bundles/{sha256}/envelope", { path: { sha256 } }, options);
  }
}
