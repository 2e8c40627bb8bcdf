import http from "node:http";
import type { ConnectionOptions } from "node:tls";
/** What a request was answered. */
export interface Answer {
    status: number;
    headers: http.IncomingHttpHeaders;
    text: string;
}
/** Where the daemon is, and connections to it that are kept open. */
export declare class Transport {
    #private;
    constructor(url: string, options: {
        maxConnections: number;
        idleTimeoutMs: number;
        maxAnswerBytes: number;
        tls?: ConnectionOptions;
    });
    /** Closes all connections; what is under way fails. */
    close(): void;
    /**
     * Makes a request, over a kept connection or a new one.
     *
     * It sends a request twice in one case only: a connection that had served
     * before ended without a byte of an answer. That is what a connection looks
     * like which the daemon closed while it was idle, and then nobody has read
     * the request. It can also be that the daemon decided and died before it
     * answered. Deciding changes nothing but the audit, so asking again is still
     * safe; the audit may then have two records, which the X-Request-Id that both
     * requests bear shows to be one call.
     */
    send(method: string, path: string, headers: http.OutgoingHttpHeaders, body: string | undefined, signal: AbortSignal, requestId: string): Promise<Answer>;
}
