/**
 * The longest pause that is waited out, in milliseconds. Where the control plane
 * asks for a longer one, the caller is told instead of kept.
 */
export declare const maxRetryAfterMs = 60000;
/** Growing pauses between attempts, spread so that many clients do not come back at once. */
export declare class Backoff {
    #private;
    /** The next pause, in milliseconds. */
    next(): number;
    /** Begins anew, after a success. */
    reset(): void;
}
/** Statuses that may be gone when the call is made again. */
export declare function isPassing(status: number): boolean;
/** Reads a Retry-After header, seconds or a date, as milliseconds from now. */
export declare function retryAfterMs(header: string | null | undefined): number | undefined;
