import { pause } from "./deadline.js";
import type { ActivationStatus } from "./models.js";
import { count, type CallOptions } from "./options.js";

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
export class NotLoadedError extends Error {
  override readonly name = "NotLoadedError";
  /** The last status seen. */
  readonly status: ActivationStatus;

  constructor(reason: string, status: ActivationStatus) {
    super(reason);
    this.status = status;
  }
}

const defaultWithinMs = 30_000;
const defaultIntervalMs = 100;

/** Looks again and again until the daemons have loaded a version. */
export async function untilLoaded(look: () => Promise<ActivationStatus>, options: WaitOptions, clientSignal: AbortSignal | undefined): Promise<ActivationStatus> {
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
