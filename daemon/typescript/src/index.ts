/**
 * Asks a caracald daemon for decisions, and fails closed: whatever goes wrong is
 * a rejection, and only `decision.allowed` means yes.
 *
 * @module
 */
export { DecideClient } from "./client.js";
export type { CallOptions, DecideClientOptions } from "./client.js";
export { Decision } from "./decision.js";
export type { DeterminingPolicy, Entry, EvaluationStatus, Outcome } from "./decision.js";
export { DecideError } from "./errors.js";
export type { FailureKind } from "./errors.js";
export { SCHEMA_VERSION } from "./input.js";
export type { Action, Context, DelegationEdge, Input, Principal, Resource } from "./input.js";
