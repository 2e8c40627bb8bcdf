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
export class DecideError extends Error {
  override readonly name = "DecideError";
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

  constructor(kind: FailureKind, code: string, message: string, more: { status?: number; requestId?: string; retryAfterSeconds?: number; cause?: unknown } = {}) {
    super(message, "cause" in more ? { cause: more.cause } : undefined);
    this.kind = kind;
    this.code = code;
    this.status = more.status;
    this.requestId = more.requestId;
    this.retryAfterSeconds = more.retryAfterSeconds;
  }
}

/** The status that a code of a batch has in an answer of its own. */
const STATUS_OF: ReadonlyMap<string, number> = new Map([
  ["invalid_input", 400],
  ["payload_too_large", 413],
  ["audit_unavailable", 503],
  ["overloaded", 503],
  ["internal_error", 500],
]);

/** A refusal by its status and code; of one input of a batch, by its code alone. */
export function refusal(status: number | undefined, code: string, description: string, requestId: string, retryAfterSeconds?: number): DecideError {
  const meant = status ?? STATUS_OF.get(code);
  let kind: FailureKind = "refused";
  if (meant !== undefined && (meant >= 500 || meant === 429)) kind = "unavailable";
  else if (meant === 400 || meant === 413 || meant === 422 || meant === 431) kind = "invalid_input";
  else if (meant === 401 || meant === 403) kind = "unauthorized";
  return new DecideError(kind, code, `the daemon refused: ${code}${description && ": " + description}`, {
    requestId,
    ...(meant !== undefined && { status: meant }),
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });
}

export function badAnswer(why: string, requestId: string, cause?: unknown): DecideError {
  return new DecideError("bad_answer", "bad_answer", `the daemon's answer cannot be used: ${why}`, { requestId, cause });
}

export function invalidInput(why: string, cause?: unknown): DecideError {
  return new DecideError("invalid_input", "invalid_input", `invalid input: ${why}`, { cause });
}
