import type { Opened } from "./transport.js";
/**
 * Gives the bytes of an open answer. One that breaks off ends with an error, so
 * that nobody takes a part for the whole.
 */
export declare function bytesOf({ response, deadline }: Opened, method: string, path: string): ReadableStream<Uint8Array>;
