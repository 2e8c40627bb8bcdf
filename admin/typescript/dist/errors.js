/**
 * An answer outside 2xx.
 *
 * `code` is the API's snake_case code, such as `policy_name_conflict`, or one
 * made from the status where something between answered, such as `bad_gateway`.
 */
export class AdminApiError extends Error {
    name = "AdminApiError";
    /** HTTP status. */
    status;
    /** What went wrong, for programs. */
    code;
    /** What went wrong, for people; may be "". */
    description;
    /** The answer's body: parsed where it is JSON, else its text. */
    body;
    /** The places where content was refused, such as those of `invalid_rego`. */
    errors;
    /** Finds the call in the control plane's log. */
    requestId;
    /** How long the control plane asked to wait, in milliseconds. */
    retryAfterMs;
    method;
    path;
    constructor(call, status, text, about = {}) {
        const body = parsed(text);
        const fields = typeof body === "object" && body !== null ? body : {};
        const code = typeof fields["error"] === "string" && fields["error"] !== "" ? fields["error"] : codeOf(status, about.statusText);
        const description = typeof fields["error_description"] === "string" ? fields["error_description"] : "";
        super(`${call.method} ${call.path}: ${description === "" ? code : `${code}: ${description}`} (${status})`);
        this.status = status;
        this.code = code;
        this.description = description;
        this.body = body;
        this.errors = Array.isArray(fields["errors"]) ? fields["errors"] : [];
        this.requestId = about.requestId;
        this.retryAfterMs = about.retryAfterMs;
        this.method = call.method;
        this.path = call.path;
    }
}
/** No answer, or none that can be read. `cause` has the error below, if any. */
export class AdminConnectionError extends Error {
    name = "AdminConnectionError";
    code;
    method;
    path;
    constructor(call, code, reason, cause) {
        super(`${call.method} ${call.path}: ${code}: ${reason}`, cause === undefined ? undefined : { cause });
        this.code = code;
        this.method = call.method;
        this.path = call.path;
    }
}
function parsed(text) {
    try {
        return JSON.parse(text);
    }
    catch {
        return text;
    }
}
function codeOf(status, statusText = "") {
    const code = statusText.toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_+|_+$/g, "");
    return code === "" ? `http_${status}` : code;
}
