const defaultTimeoutMs = 30_000;
const defaultRetries = 3;
/** Checks options and fills defaults in. Throws a TypeError that names what is wrong. */
export function settle(options) {
    const { apiUrl, adminToken, fetchImpl } = options;
    if (typeof adminToken !== "string") {
        throw new TypeError("adminToken is missing");
    }
    if (/[^\x21-\x7e]/.test(adminToken)) {
        throw new TypeError("adminToken has characters that no token has, such as a line's end");
    }
    return {
        base: baseOf(apiUrl),
        token: adminToken,
        // Called without a receiver: a browser's fetch refuses any but the window.
        fetch: fetchImpl === undefined ? (input, init) => fetch(input, init) : (input, init) => fetchImpl(input, init),
        timeoutMs: count("timeoutMs", options.timeoutMs, defaultTimeoutMs),
        retries: count("retries", options.retries, defaultRetries),
        signal: options.signal,
        headers: { ...options.headers },
    };
}
function baseOf(apiUrl) {
    let url;
    try {
        url = new URL(apiUrl);
    }
    catch {
        throw new TypeError(apiUrl ? `apiUrl is no URL: ${apiUrl}` : "apiUrl is missing");
    }
    if (url.protocol !== "http:" && url.protocol !== "https:") {
        throw new TypeError(`apiUrl is no http or https URL: ${apiUrl}`);
    }
    if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
        throw new TypeError("apiUrl has more than a scheme, a host and a path");
    }
    return url.origin + url.pathname.replace(/\/+$/, "");
}
/** Checks a number of milliseconds or of times. */
export function count(name, value, otherwise) {
    if (value === undefined) {
        return otherwise;
    }
    if (!Number.isFinite(value) || value < 0) {
        throw new TypeError(`${name} must be a number from 0, not ${value}`);
    }
    return value;
}
