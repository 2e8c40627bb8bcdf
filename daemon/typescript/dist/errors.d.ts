/**
 * Why there is no decision.
 *
 * - `unavailable`: nobody listens, the deadline passed, the connection broke, or
 *   the daemon is overloaded or cannot keep its audit (429 and 5xx). Asking
 *   again later may help.
 * - `invalid_input`: the input is not one: found by the daemon (400, 413, 422,
 *   431) or before it was asked.
 * - `unauthorized`: the daemon wants another token (401, 403).
 * - `bad_answer`: there was an answer that must not be acted on. It cannot be
 *   read, lacks what a decision has, uses a word that is not known, or is about
 *   another zone, another request or another number of inputs.
 * - `refused`: the daemon refused for any other reason.
 * - `closed`: the client was closed.
 */
export type FailureKind = "unavailable" | "invalid_input" | "unauthorized" | "bad_answer" | "refused" | "closed";
/** There is no decision. It never allows. */
export declare class DecideError extends Error {
    readonly name = "DecideError";
    /** Always false, so that an error taken for a decision denies. */
    readonly allowed = false;
    readonly kind: FailureKind;
    /** The daemon's code, such as `audit_unavailable`, or `timeout`, `aborted`, or what Node calls the failure. */
    readonly code: string;
    /** The HTTP status, where the daemon answered and refused. */
    readonly status: number | undefined;
    /** Finds the call in the daemon's log and audit. */
    readonly requestId: string | undefined;
    /** The pause that the daemon asked for, in seconds. */
    readonly retryAfterSeconds: number | undefined;
    constructor(kind: FailureKind, code: string, message: string, more?: {
        status?: number;
        requestId?: string;
        retryAfterSeconds?: number;
        cause?: unknown;
    });
}
/** A refusal by its status and code; of one input of a batch, by its code alone. */
export declare function refusal(status: number | undefined, code: string, description: string, requestId: string, retryAfterSeconds?: number): DecideError;
export declare function badAnswer(why: string, requestId: string, cause?: unknown): DecideError;
export declare function invalidInput(why: string, cause?: unknown): DecideError;
