import type { Health } from "../models.js";
import type { AnswerOf, Operations } from "../operations.js";
import type { CallOptions } from "../options.js";
/** The control plane itself. These calls need no token. */
export declare class System {
    #private;
    constructor(operations: Operations);
    /** Says that the control plane runs. */
    live(options?: CallOptions): Promise<Health>;
    /** Says that the control plane can serve. 503 `not_ready`. */
    ready(options?: CallOptions): Promise<Health>;
    /** Reads the control plane's metrics, as Prometheus writes them. */
    metrics(options?: CallOptions): Promise<string>;
    /** Reads the OpenAPI document that describes the API. */
    openapi(options?: CallOptions): Promise<AnswerOf<"get", "/openapi.json">>;
}
