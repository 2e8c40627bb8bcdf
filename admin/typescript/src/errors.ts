import type { ContentError } from "./models.js";

/** Where an error came from: the call that failed. */
export interface FailedCall {
  /** HTTP method, upper case. */
  readonly method: string;
  /** Path below the API's URL, such as `/v1/zones`. */
  readonly path: string;
}

/**
 * An answer outside 2xx.
 *
 * `code` is the API's snake_case code, such as `policy_name_conflict`, or one
 * made from the status where something between answered, such as `bad_gateway`.
 */
export class AdminApiError extends Error implements FailedCall {
  override readonly name = "AdminApiError";
  /** HTTP status. */
  readonly status: number;
  /** What went wrong, for programs. */
  readonly code: string;
  /** What went wrong, for people; may be "". */
  readonly description: string;
  /** The answer's body: parsed where it is JSON, else its text. */
  readonly body: unknown;
  /** The places where content was refused, such as those of `invalid_rego`. */
  readonly errors: readonly ContentError[];
  /** Finds the call in the control plane's log. */
  readonly requestId: string | undefined;
  /** How long the control plane asked to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  readonly method: string;
  readonly path: string;

  constructor(
    call: FailedCall,
    status: number,
    text: string,
    about: { requestId?: string | undefined; retryAfterMs?: number | undefined; statusText?: string | undefined } = {},
  ) {
    const body = parsed(text);
    const fields = typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
    const code = typeof fields["error"] === "string" && fields["error"] !== "" ? fields["error"] : codeOf(status, about.statusText);
    const description = typeof fields["error_description"] === "string" ? fields["error_description"] : "";
    super(`${call.method} ${call.path}: ${description === "" ? code : `${code}: ${description}`} (${status})`);
    this.status = status;
    this.code = code;
    this.description = description;
    this.body = body;
    this.errors = Array.isArray(fields["errors"]) ? (fields["errors"] as ContentError[]) : [];
    this.requestId = about.requestId;
    this.retryAfterMs = about.retryAfterMs;
    this.method = call.method;
    this.path = call.path;
  }
}

/** Why there was no answer to make something of. */
export type ConnectionErrorCode =
  /** The control plane could not be reached, or the connection broke. */
  | "network_error"
  /** No whole answer came within `timeoutMs`. */
  | "timeout"
  /** What came is not what the API answers. */
  | "invalid_answer";

/** No answer, or none that can be read. `cause` has the error below, if any. */
export class AdminConnectionError extends Error implements FailedCall {
  override readonly name = "AdminConnectionError";
  readonly code: ConnectionErrorCode;
  readonly method: string;
  readonly path: string;

  constructor(call: FailedCall, code: ConnectionErrorCode, reason: string, cause?: unknown) {
    super(`${call.method} ${call.path}: ${code}: ${reason}`, cause === undefined ? undefined : { cause });
    this.code = code;
    this.method = call.method;
    this.path = call.path;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

function codeOf(status: number, statusText = ""): string {
  const code = statusText.toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_+|_+$/g, "");
  return code === "" ? `http_${status}` : code;
}
