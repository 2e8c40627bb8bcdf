import type { AuditEvent } from "./models.js";
import type { Operations, QueryOf } from "./operations.js";
/** An audit event, and the id after which a tail can be taken up again. */
export type TailEvent = AuditEvent & {
    readonly lastEventId: string;
};
declare const path = "/v1/zones/{zone}/audit/tail";
/** Which events a tail gives; all without it. */
export type TailFilter = Omit<QueryOf<typeof path>, "since_id">;
/** Which events a tail gives, and how it is followed. */
export interface TailOptions extends TailFilter {
    /** Ends the tail, which then rejects with the signal's reason. */
    signal?: AbortSignal | undefined;
    /** Begins after this event; without it, with what comes from now on. "0" begins with the oldest. */
    lastEventId?: string | undefined;
    /** Bounds how long opening the stream may take, in milliseconds. Default: the client's. */
    timeoutMs?: number | undefined;
    /**
     * Takes a stream on which nothing comes for this long, in milliseconds, for
     * lost. Default 45,000: the control plane sends a sign of life every 15 s.
     */
    idleTimeoutMs?: number | undefined;
    /** Sent beside the client's headers. */
    headers?: Record<string, string> | undefined;
    /** Told when the stream opens, and when it is lost and will be opened again. */
    onState?: ((state: "open" | "lost", error?: unknown) => void) | undefined;
}
/**
 * Follows a zone's audit. A stream that is lost is opened again, after the last
 * event that was given, so that none is missed or comes twice.
 */
export declare function tail(operations: Operations, zone: string, options: TailOptions): AsyncGenerator<TailEvent, void, undefined>;
export {};
