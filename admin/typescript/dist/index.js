/** The client of the caracal admin API. Begin with {@link AdminClient}. */
export { NotLoadedError } from "./activation.js";
export { AdminClient } from "./client.js";
export { AdminApiError, AdminConnectionError } from "./errors.js";
export { parseExactly, stringifyExactly } from "./exact.js";
