import type { paths } from "./openapi.js";
import type { CallOptions, WriteOptions } from "./options.js";
import type { Opened, Transport } from "./transport.js";
/** Methods of HTTP as the OpenAPI document writes them. */
export type Method = "get" | "post" | "patch" | "delete";
/** Paths of the OpenAPI document that take a method. */
export type PathOf<M extends Method> = {
    [P in keyof paths]: paths[P] extends Record<M, {
        responses: unknown;
    }> ? P : never;
}[keyof paths];
type OperationOf<M extends Method, P extends PathOf<M>> = paths[P] extends Record<M, infer O> ? O : never;
type PathParameters<O> = O extends {
    parameters: {
        path: infer V;
    };
} ? V : never;
/** A parameter that is undefined or null is left out, as one that is absent. */
type Query<O> = O extends {
    parameters: {
        query?: infer Q;
    };
} ? {
    [K in keyof Exclude<Q, undefined>]: Exclude<Q, undefined>[K] | null | undefined;
} : never;
type Body<O> = O extends {
    requestBody: {
        content: {
            "application/json": infer B;
        };
    };
} ? B : never;
type Success<R> = R extends {
    200: infer A;
} ? A : R extends {
    201: infer A;
} ? A : R extends {
    202: infer A;
} ? A : never;
/** What an operation answers as JSON; void where it answers nothing. */
export type AnswerOf<M extends Method, P extends PathOf<M>> = OperationOf<M, P> extends {
    responses: infer R;
} ? [Success<R>] extends [never] ? void : Success<R> extends {
    content: {
        "application/json": infer J;
    };
} ? J : void : never;
/** The query parameters of a GET. */
export type QueryOf<P extends PathOf<"get">> = Query<OperationOf<"get", P>>;
/** What an operation is asked with: only what the document says it takes. */
export type RequestOf<M extends Method, P extends PathOf<M>> = ([PathParameters<OperationOf<M, P>>] extends [never] ? {
    path?: undefined;
} : {
    path: PathParameters<OperationOf<M, P>>;
}) & ([Query<OperationOf<M, P>>] extends [never] ? {
    query?: undefined;
} : {
    query?: Query<OperationOf<M, P>> | undefined;
}) & ([Body<OperationOf<M, P>>] extends [never] ? {
    body?: undefined;
} : {
    body: Body<OperationOf<M, P>>;
});
/**
 * The operations of the API, typed by its OpenAPI document: a path, a parameter,
 * a body or an answer that the document does not have does not compile.
 */
export declare class Operations {
    #private;
    constructor(transport: Transport);
    /** Makes a call whose answer is JSON, or empty. parse reads it. */
    call<M extends Method, P extends PathOf<M>>(method: M, path: P, request: RequestOf<M, P>, options?: WriteOptions, parse?: (text: string) => unknown): Promise<AnswerOf<M, P>>;
    /** Makes a GET whose answer is text. */
    text<P extends PathOf<"get">>(path: P, request: RequestOf<"get", P>, accept: string, options?: CallOptions): Promise<string>;
    /** Makes a GET whose answer is bytes. */
    bytes<P extends PathOf<"get">>(path: P, request: RequestOf<"get", P>, accept: string, options?: CallOptions): Promise<Uint8Array>;
    /** Makes a GET whose answer is read while it comes. */
    open<P extends PathOf<"get">>(path: P, request: RequestOf<"get", P>, accept: string, options?: CallOptions): Promise<Opened>;
    /** The signal that ends every call of the client. */
    get signal(): AbortSignal | undefined;
}
export {};
