import type { ConnectionOptions } from "node:tls";
import { type Decision, type Outcome } from "./decision.js";
import { type Input } from "./input.js";
export interface DecideClientOptions {
    /** The daemon: http://HOST:PORT, https://HOST:PORT, or unix:///PATH. Default http://127.0.0.1:8181. */
    url?: string;
    /** The bearer token that a daemon asks for on TCP. */
    token?: string;
    /** Bounds a whole call, waiting for a connection included. Default 2,000. */
    timeoutMs?: number;
    /** Bounds the connections, and so the calls under way; more wait. Default 128. */
    maxConnections?: number;
    /** How long an unused connection is kept. Default 90,000, less than the daemon's two minutes. */
    idleTimeoutMs?: number;
    /** Bounds an answer. Default 16 MiB. */
    maxAnswerBytes?: number;
    /** Used for https. */
    tls?: ConnectionOptions;
    /**
     * Adds headers to each call, such as W3C traceparent, which the daemon puts into
     * the audit record. With OpenTelemetry: `(headers) => propagation.inject(context.active(), headers)`.
     */
    inject?: (headers: Record<string, string>) => void;
}
export interface CallOptions {
    /** Names the call in the audit: [A-Za-z0-9_.:-]{1,128}. By chance by default. */
    requestId?: string;
    /** Ends the call early. */
    signal?: AbortSignal;
}
/** Asks one daemon. It connects when it is first asked. */
export declare class DecideClient {
    #private;
    constructor(options?: DecideClientOptions);
    /** Asks for a decision on an input, or on JSON text, which is sent as it is. Rejects with a DecideError. */
    decide(input: Input | string, options?: CallOptions): Promise<Decision>;
    /**
     * Asks for decisions on several inputs in one call; each is a decision of its
     * own. There is one outcome for each input, in order. Rejects with a
     * DecideError where the call as a whole fails.
     */
    decideBatch(inputs: readonly (Input | string)[], options?: CallOptions): Promise<Outcome[]>;
    /** Resolves when the daemon is ready to decide: it has loaded its zones. Rejects with a DecideError. */
    ready(options?: CallOptions): Promise<void>;
    /** Closes all connections. Calls under way and later ones fail. */
    close(): void;
}
