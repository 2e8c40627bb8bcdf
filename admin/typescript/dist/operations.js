import { AdminConnectionError } from "./errors.js";
import { stringifyExactly } from "./exact.js";
/**
 * The operations of the API, typed by its OpenAPI document: a path, a parameter,
 * a body or an answer that the document does not have does not compile.
 */
export class Operations {
    #transport;
    constructor(transport) {
        this.#transport = transport;
    }
    /** Makes a call whose answer is JSON, or empty. parse reads it. */
    async call(method, path, request, options = {}, parse = JSON.parse) {
        const call = wire(method, path, request, "application/json");
        return this.#transport.send(call, options, async (response) => {
            const text = await response.text();
            if (text === "") {
                return undefined;
            }
            try {
                return parse(text);
            }
            catch (error) {
                throw new AdminConnectionError(call, "invalid_answer", "the answer is not JSON", error);
            }
        });
    }
    /** Makes a GET whose answer is text. */
    async text(path, request, accept, options = {}) {
        return this.#transport.send(wire("get", path, request, accept), options, (response) => response.text());
    }
    /** Makes a GET whose answer is bytes. */
    async bytes(path, request, accept, options = {}) {
        return this.#transport.send(wire("get", path, request, accept), options, async (response) => new Uint8Array(await response.arrayBuffer()));
    }
    /** Makes a GET whose answer is read while it comes. */
    async open(path, request, accept, options = {}) {
        return this.#transport.open(wire("get", path, request, accept), options);
    }
    /** The signal that ends every call of the client. */
    get signal() {
        return this.#transport.settings.signal;
    }
}
function wire(method, path, request, accept) {
    return {
        method: method.toUpperCase(),
        path: fill(path, (request.path ?? {})),
        query: queryString((request.query ?? {})),
        body: request.body === undefined ? undefined : stringifyExactly(request.body),
        accept,
    };
}
/** Fills parameters into a path such as /v1/zones/{zone}. */
function fill(template, values) {
    return template.replace(/\{(\w+)\}/g, (_, name) => {
        const value = values[name];
        // A URL cannot hold these as a segment: it would be another path, and so another call.
        if (typeof value !== "string" || value === "" || value === "." || value === "..") {
            throw new TypeError(`${name} is no id: ${JSON.stringify(value) ?? "undefined"}`);
        }
        return encodeURIComponent(value);
    });
}
function queryString(query) {
    const params = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
        if (Array.isArray(value)) {
            for (const one of value) {
                params.append(name, String(one));
            }
        }
        else if (value !== undefined && value !== null && value !== "") {
            params.set(name, String(value));
        }
    }
    return params;
}
