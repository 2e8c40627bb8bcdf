/** The control plane itself. These calls need no token. */
export class System {
    #operations;
    constructor(operations) {
        this.#operations = operations;
    }
    /** Says that the control plane runs. */
    live(options) {
        return this.#operations.call("get", "/healthz", {}, options);
    }
    /** Says that the control plane can serve. 503 `not_ready`. */
    ready(options) {
        return this.#operations.call("get", "/readyz", {}, options);
    }
    /** Reads the control plane's metrics, as Prometheus writes them. */
    metrics(options) {
        return this.#operations.text("/metrics", {}, "text/plain", options);
    }
    /** Reads the OpenAPI document that describes the API. */
    openapi(options) {
        return this.#operations.call("get", "/openapi.json", {}, options);
    }
}
