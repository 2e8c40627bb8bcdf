/** The longest time that a timer can be set to. */
const maxTimerMs = 2 ** 31 - 1;

/** Who follows a signal, and the one listener that all of them share. */
interface Followers {
  readonly all: Set<() => void>;
  readonly listener: () => void;
}

const followed = new WeakMap<AbortSignal, Followers>();

/**
 * Has a function called when a signal is aborted. However many calls are under
 * way, the signal has one listener, of which Node would warn if they were many.
 */
function follow(signal: AbortSignal, then: () => void): void {
  let followers = followed.get(signal);
  if (followers === undefined) {
    const all = new Set<() => void>();
    followers = { all, listener: () => [...all].forEach((each) => each()) };
    followed.set(signal, followers);
    signal.addEventListener("abort", followers.listener, { once: true });
  }
  followers.all.add(then);
}

/** Takes a function off a signal, and the listener with the last one. */
function unfollow(signal: AbortSignal, then: () => void): void {
  const followers = followed.get(signal);
  if (followers?.all.delete(then) && followers.all.size === 0) {
    followed.delete(signal);
    signal.removeEventListener("abort", followers.listener);
  }
}

/**
 * One signal for everything that can end an attempt: the time, and the signals
 * of the caller and of the client. `close` takes its listeners off, so that a
 * signal that lives long does not gather them.
 */
export class Deadline {
  readonly signal: AbortSignal;
  /** Tells that it was the time. */
  timedOut = false;

  readonly #controller = new AbortController();
  readonly #sources: AbortSignal[];
  readonly #follow: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(...sources: (AbortSignal | undefined)[]) {
    this.signal = this.#controller.signal;
    this.#sources = sources.filter((s) => s !== undefined);
    this.#follow = () => this.#controller.abort(this.#sources.find((s) => s.aborted)?.reason);
    for (const source of this.#sources) {
      follow(source, this.#follow);
    }
    if (this.#sources.some((s) => s.aborted)) {
      this.#follow();
    }
  }

  /** Starts the time anew; 0 stops it. */
  within(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (ms > 0) {
      this.#timer = setTimeout(() => {
        this.timedOut = true;
        this.#controller.abort(new DOMException(`nothing came within ${ms} ms`, "TimeoutError"));
      }, Math.min(ms, maxTimerMs));
    }
  }

  /** Waits for a promise no longer than the deadline, also where the promise does not heed the signal. */
  async wait<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this;
    let ended: (() => void) | undefined;
    try {
      return await Promise.race([
        promise,
        new Promise<never>((_, reject) => {
          ended = () => reject(signal.reason as Error);
          if (signal.aborted) {
            ended();
          } else {
            signal.addEventListener("abort", ended, { once: true });
          }
        }),
      ]);
    } finally {
      if (ended !== undefined) {
        signal.removeEventListener("abort", ended);
      }
    }
  }

  /** Ends what is still going on. */
  abort(): void {
    this.#controller.abort();
  }

  /** Lets go of the timer and of the signals. */
  close(): void {
    this.within(0);
    for (const source of this.#sources) {
      unfollow(source, this.#follow);
    }
  }
}

/** Waits, and rejects with the reason of the first of the signals that is aborted. */
export async function pause(ms: number, ...signals: (AbortSignal | undefined)[]): Promise<void> {
  const deadline = new Deadline(...signals);
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    await deadline.wait(
      new Promise<void>((resolve) => {
        timer = setTimeout(resolve, Math.min(ms, maxTimerMs));
      }),
    );
  } finally {
    clearTimeout(timer);
    deadline.close();
  }
}
