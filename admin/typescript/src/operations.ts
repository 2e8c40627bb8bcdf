import { AdminConnectionError } from "./errors.js";
import { stringifyExactly } from "./exact.js";
import type { paths } from "./openapi.js";
import type { CallOptions, WriteOptions } from "./options.js";
import type { Opened, Transport, WireCall } from "./transport.js";

/** Methods of HTTP as the OpenAPI document writes them. */
export type Method = "get" | "post" | "patch" | "delete";

/** Paths of the OpenAPI document that take a method. */
export type PathOf<M extends Method> = {
  [P in keyof paths]: paths[P] extends Record<M, { responses: unknown }> ? P : never;
}[keyof paths];

type OperationOf<M extends Method, P extends PathOf<M>> = paths[P] extends Record<M, infer O> ? O : never;

type PathParameters<O> = O extends { parameters: { path: infer V } } ? V : never;
/** A parameter that is undefined or null is left out, as one that is absent. */
type Query<O> = O extends { parameters: { query?: infer Q } } ? { [K in keyof Exclude<Q, undefined>]: Exclude<Q, undefined>[K] | null | undefined } : never;
type Body<O> = O extends { requestBody: { content: { "application/json": infer B } } } ? B : never;

type Success<R> = R extends { 200: infer A }
  ? A
  : R extends { 201: infer A }
    ? A
    : R extends { 202: infer A }
      ? A
      : never;

/** What an operation answers as JSON; void where it answers nothing. */
export type AnswerOf<M extends Method, P extends PathOf<M>> =
  OperationOf<M, P> extends { responses: infer R }
    ? [Success<R>] extends [never]
      ? void
      : Success<R> extends { content: { "application/json": infer J } }
        ? J
        : void
    : never;

/** The query parameters of a GET. */
export type QueryOf<P extends PathOf<"get">> = Query<OperationOf<"get", P>>;

/** What an operation is asked with: only what the document says it takes. */
export type RequestOf<M extends Method, P extends PathOf<M>> = ([PathParameters<OperationOf<M, P>>] extends [never]
  ? { path?: undefined }
  : { path: PathParameters<OperationOf<M, P>> }) &
  ([Query<OperationOf<M, P>>] extends [never] ? { query?: undefined } : { query?: Query<OperationOf<M, P>> | undefined }) &
  ([Body<OperationOf<M, P>>] extends [never] ? { body?: undefined } : { body: Body<OperationOf<M, P>> });

/**
 * The operations of the API, typed by its OpenAPI document: a path, a parameter,
 * a body or an answer that the document does not have does not compile.
 */
export class Operations {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Makes a call whose answer is JSON, or empty. parse reads it. */
  async call<M extends Method, P extends PathOf<M>>(
    method: M,
    path: P,
    request: RequestOf<M, P>,
    options: WriteOptions = {},
    parse: (text: string) => unknown = JSON.parse,
  ): Promise<AnswerOf<M, P>> {
    const call = wire(method, path, request, "application/json");
    return this.#transport.send(call, options, async (response) => {
      const text = await response.text();
      if (text === "") {
        return undefined as AnswerOf<M, P>;
      }
      try {
        return parse(text) as AnswerOf<M, P>;
      } catch (error) {
        throw new AdminConnectionError(call, "invalid_answer", "the answer is not JSON", error);
      }
    });
  }

  /** Makes a GET whose answer is text. */
  async text<P extends PathOf<"get">>(path: P, request: RequestOf<"get", P>, accept: string, options: CallOptions = {}): Promise<string> {
    return this.#transport.send(wire("get", path, request, accept), options, (response) => response.text());
  }

  /** Makes a GET whose answer is bytes. */
  async bytes<P extends PathOf<"get">>(path: P, request: RequestOf<"get", P>, accept: string, options: CallOptions = {}): Promise<Uint8Array> {
    return this.#transport.send(wire("get", path, request, accept), options, async (response) => new Uint8Array(await response.arrayBuffer()));
  }

  /** Makes a GET whose answer is read while it comes. */
  async open<P extends PathOf<"get">>(path: P, request: RequestOf<"get", P>, accept: string, options: CallOptions = {}): Promise<Opened> {
    return this.#transport.open(wire("get", path, request, accept), options);
  }

  /** The signal that ends every call of the client. */
  get signal(): AbortSignal | undefined {
    return this.#transport.settings.signal;
  }
}

function wire(method: string, path: string, request: { path?: unknown; query?: unknown; body?: unknown }, accept: string): WireCall {
  return {
    method: method.toUpperCase(),
    path: fill(path, (request.path ?? {}) as Record<string, string>),
    query: queryString((request.query ?? {}) as Record<string, unknown>),
    body: request.body === undefined ? undefined : stringifyExactly(request.body),
    accept,
  };
}

/** Fills parameters into a path such as /v1/zones/{zone}. */
function fill(template: string, values: Record<string, string>): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = values[name];
    // A URL cannot hold these as a segment: it would be another path, and so another call.
    if (typeof value !== "string" || value === "" || value === "." || value === "..") {
      throw new TypeError(`${name} is no id: ${JSON.stringify(value) ?? "undefined"}`);
    }
    return encodeURIComponent(value);
  });
}

function queryString(query: Record<string, unknown>): URLSearchParams {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (Array.isArray(value)) {
      for (const one of value) {
        params.append(name, String(one));
      }
    } else if (value !== undefined && value !== null && value !== "") {
      params.set(name, String(value));
    }
  }
  return params;
}
