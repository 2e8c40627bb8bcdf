/** The longest time that a timer can be set to. */
const maxTimerMs = 2 ** 31 - 1;
/**
 * One signal for everything that can end an attempt: the time, and the signals
 * of the caller and of the client. `close` takes its listeners off, so that a
 * signal that lives long does not gather them.
 */
export class Deadline {
    signal;
    /** Tells that it was the time. */
    timedOut = false;
    #controller = new AbortController();
    #sources;
    #follow;
    #timer;
    constructor(...sources) {
        this.signal = this.#controller.signal;
        this.#sources = sources.filter((s) => s !== undefined);
        this.#follow = () => this.#controller.abort(this.#sources.find((s) => s.aborted)?.reason);
        for (const source of this.#sources) {
            source.addEventListener("abort", this.#follow, { once: true });
        }
        if (this.#sources.some((s) => s.aborted)) {
            this.#follow();
        }
    }
    /** Starts the time anew; 0 stops it. */
    within(ms) {
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
    async wait(promise) {
        const { signal } = this;
        let ended;
        try {
            return await Promise.race([
                promise,
                new Promise((_, reject) => {
                    ended = () => reject(signal.reason);
                    if (signal.aborted) {
                        ended();
                    }
                    else {
                        signal.addEventListener("abort", ended, { once: true });
                    }
                }),
            ]);
        }
        finally {
            if (ended !== undefined) {
                signal.removeEventListener("abort", ended);
            }
        }
    }
    /** Ends what is still going on. */
    abort() {
        this.#controller.abort();
    }
    /** Lets go of the timer and of the signals. */
    close() {
        this.within(0);
        for (const source of this.#sources) {
            source.removeEventListener("abort", this.#follow);
        }
    }
}
/** Waits, and rejects with the reason of the first of the signals that is aborted. */
export async function pause(ms, ...signals) {
    const deadline = new Deadline(...signals);
    let timer;
    try {
        await deadline.wait(new Promise((resolve) => {
            timer = setTimeout(resolve, Math.min(ms, maxTimerMs));
        }));
    }
    finally {
        clearTimeout(timer);
        deadline.close();
    }
}
