/**
 * Asks a caracald daemon for decisions, and fails closed: whatever goes wrong is
 * a rejection, and only `decision.allowed` means yes.
 *
 * @module
 */
export { DecideClient } from "./client.js";
export { Decision } from "./decision.js";
export { DecideError } from "./errors.js";
export { SCHEMA_VERSION } from "./input.js";
