import type { ActivationStatus } from "./models.js";
import { type CallOptions } from "./options.js";
/** How long, and how, the loading of an activated version is waited for. */
export interface WaitOptions extends CallOptions {
    /** The activation waited for, as `activate` answered; without it, the version's newest. */
    outboxId?: string | undefined;
    /** The longest wait, in milliseconds. Default 30,000. */
    withinMs?: number | undefined;
    /** The time between two looks, in milliseconds. Default 100. */
    intervalMs?: number | undefined;
    /** Told every status that is seen. */
    onStatus?: ((status: ActivationStatus) => void) | undefined;
}
/** An activated version that the daemons did not load: it failed, was replaced, or took too long. */
export declare class NotLoadedError extends Error {
    readonly name = "NotLoadedError";
    /** The last status seen. */
    readonly status: ActivationStatus;
    constructor(reason: string, status: ActivationStatus);
}
/** Looks again and again until the daemons have loaded a version. */
export declare function untilLoaded(look: () => Promise<ActivationStatus>, options: WaitOptions, clientSignal: AbortSignal | undefined): Promise<ActivationStatus>;
