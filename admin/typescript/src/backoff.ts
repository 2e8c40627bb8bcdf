const firstMs = 200;
const mostMs = 10_000;

/**
 * The longest pause that is waited out, in milliseconds. Where the control plane
 * asks for a longer one, the caller is told instead of kept.
 */
export const maxRetryAfterMs = 60_000;

/** Growing pauses between attempts, spread so that many clients do not come back at once. */
export class Backoff {
  #next = firstMs;

  /** The next pause, in milliseconds. */
  next(): number {
    const ms = this.#next * (0.5 + Math.random());
    this.#next = Math.min(this.#next * 2, mostMs);
    return Math.min(ms, mostMs);
  }

  /** Begins anew, after a success. */
  reset(): void {
    this.#next = firstMs;
  }
}

/** Statuses that may be gone when the call is made again. */
export function isPassing(status: number): boolean {
  return status === 429 || status === 502 || status === 503 || status === 504;
}

/** Reads a Retry-After header, seconds or a date, as milliseconds from now. */
export function retryAfterMs(header: string | null | undefined): number | undefined {
  if (header === null || header === undefined) {
    return undefined;
  }
  const text = header.trim();
  if (/^\d+$/.test(text)) {
    return Number(text) * 1000;
  }
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}
