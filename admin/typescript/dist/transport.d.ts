import { Deadline } from "./deadline.js";
import { type CallOptions, type Settings, type WriteOptions } from "./options.js";
/** One call as it goes over the wire. */
export interface WireCall {
    /** Upper case. */
    readonly method: string;
    /** Below the API's URL, with parameters filled in and without the query. */
    readonly path: string;
    readonly query?: URLSearchParams | undefined;
    /** The body, JSON; undefined sends none. */
    readonly body?: string | undefined;
    /** Media type asked for. */
    readonly accept: string;
    readonly headers?: Record<string, string> | undefined;
}
/** A stream that is open, and the time it may still take. */
export interface Opened {
    readonly response: Response;
    readonly deadline: Deadline;
}
/** Makes calls: headers, time limits, retries, errors. */
export declare class Transport {
    #private;
    readonly settings: Settings;
    constructor(settings: Settings);
    /** Makes a call and reads its answer whole. */
    send<T>(call: WireCall, options: WriteOptions, read: (response: Response) => Promise<T>): Promise<T>;
    /**
     * Makes a call whose answer is read while it comes. The time limit holds until
     * the answer begins. Whoever reads the stream closes the deadline.
     */
    open(call: WireCall, options: CallOptions): Promise<Opened>;
}
