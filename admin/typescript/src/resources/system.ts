import type { Health } from "../models.js";
import type { AnswerOf, Operations } from "../operations.js";
import type { CallOptions } from "../options.js";

/** The control plane itself. These calls need no token. */
export class System {
  readonly #operations: Operations;

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  /** Says that the control plane runs. */
  live(options?: CallOptions): Promise<Health> {
    return this.#operations.call("get", "/healthz", {}, options);
  }

  /** Says that the control plane can serve. 503 `not_ready`. */
  ready(options?: CallOptions): Promise<Health> {
    return this.#operations.call("get", "/readyz", {}, options);
  }

  /** Reads the control plane's metrics, as Prometheus writes them. */
  metrics(options?: CallOptions): Promise<string> {
    return this.#operations.text("/metrics", {}, "text/plain", options);
  }

  /** Reads the OpenAPI document that describes the API. */
  openapi(options?: CallOptions): Promise<AnswerOf<"get", "/openapi.json">> {
    return this.#operations.call("get", "/openapi.json", {}, options);
  }
}
