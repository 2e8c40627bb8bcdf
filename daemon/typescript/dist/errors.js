/** There is no decision. It never allows. */
export class DecideError extends Error {
    name = "DecideError";
    /** Always false, so that an error taken for a decision denies. */
    allowed = false;
    kind;
    /** The daemon's code, such as `audit_unavailable`, or `timeout`, `aborted`, or what Node calls the failure. */
    code;
    /** The HTTP status, where the daemon answered and refused. */
    status;
    /** Finds the call in the daemon's log and audit. */
    requestId;
    /** The pause that the daemon asked for, in seconds. */
    retryAfterSeconds;
    constructor(kind, code, message, more = {}) {
        super(message, "cause" in more ? { cause: more.cause } : undefined);
        this.kind = kind;
        this.code = code;
        this.status = more.status;
        this.requestId = more.requestId;
        this.retryAfterSeconds = more.retryAfterSeconds;
    }
}
/** The status that a code of a batch has in an answer of its own. */
const STATUS_OF = new Map([
    ["invalid_input", 400],
    ["payload_too_large", 413],
    ["audit_unavailable", 503],
    ["overloaded", 503],
    ["internal_error", 500],
]);
/** A refusal by its status and code; of one input of a batch, by its code alone. */
export function refusal(status, code, description, requestId, retryAfterSeconds) {
    const meant = status ?? STATUS_OF.get(code);
    let kind = "refused";
    if (meant !== undefined && (meant >= 500 || meant === 429))
        kind = "unavailable";
    else if (meant === 400 || meant === 413 || meant === 422 || meant === 431)
        kind = "invalid_input";
    else if (meant === 401 || meant === 403)
        kind = "unauthorized";
    return new DecideError(kind, code, `the daemon refused: ${code}${description && ": " + description}`, {
        requestId,
        ...(meant !== undefined && { status: meant }),
        ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    });
}
export function badAnswer(why, requestId, cause) {
    return new DecideError("bad_answer", "bad_answer", `the daemon's answer cannot be used: ${why}`, { requestId, cause });
}
export function invalidInput(why, cause) {
    return new DecideError("invalid_input", "invalid_input", `invalid input: ${why}`, { cause });
}
