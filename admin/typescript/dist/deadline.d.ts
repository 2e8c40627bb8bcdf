/**
 * One signal for everything that can end an attempt: the time, and the signals
 * of the caller and of the client. `close` takes its listeners off, so that a
 * signal that lives long does not gather them.
 */
export declare class Deadline {
    #private;
    readonly signal: AbortSignal;
    /** Tells that it was the time. */
    timedOut: boolean;
    constructor(...sources: (AbortSignal | undefined)[]);
    /** Starts the time anew; 0 stops it. */
    within(ms: number): void;
    /** Waits for a promise no longer than the deadline, also where the promise does not heed the signal. */
    wait<T>(promise: Promise<T>): Promise<T>;
    /** Ends what is still going on. */
    abort(): void;
    /** Lets go of the timer and of the signals. */
    close(): void;
}
/** Waits, and rejects with the reason of the first of the signals that is aborted. */
export declare function pause(ms: number, ...signals: (AbortSignal | undefined)[]): Promise<void>;
