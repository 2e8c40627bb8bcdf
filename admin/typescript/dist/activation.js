import { pause } from "./deadline.js";
import { count } from "./options.js";
/** An activated version that the daemons did not load: it failed, was replaced, or took too long. */
export class NotLoadedError extends Error {
    name = "NotLoadedError";
    /** The last status seen. */
    status;
    constructor(reason, status) {
        super(reason);
        this.status = status;
    }
}
const defaultWithinMs = 30_000;
const defaultIntervalMs = 100;
/** Looks again and again until the daemons have loaded a version. */
export async function untilLoaded(look, options, clientSignal) {
    const withinMs = count("withinMs", options.withinMs, defaultWithinMs);
    const intervalMs = count("intervalMs", options.intervalMs, defaultIntervalMs);
    const end = performance.now() + withinMs;
    for (;;) {
        const status = await look();
        options.onStatus?.(status);
        if (status.propagation_status === "loaded") {
            return status;
        }
        if (status.propagation_status === "failed") {
            throw new NotLoadedError(`the version could not be loaded: ${status.sts.detail}`, status);
        }
        if (!status.active) {
            throw new NotLoadedError(`version ${status.version_id} is not active`, status);
        }
        const left = end - performance.now();
        if (left <= 0) {
            throw new NotLoadedError(`not loaded within ${withinMs} ms: ${status.propagation_status}`, status);
        }
        await pause(Math.min(intervalMs, left), options.signal, clientSignal);
    }
}
