/** JSON strings, which are passed over, and numbers. */
const token = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Begins a string that stands for a number; nobody else can have written it. */
const mark = `number-${Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("")}:`;
const marked = new RegExp(`"${mark}([^"]*)"`, "g");

/** What objects were parsed from, where that has numbers that JavaScript has not: the same, with marks in their place. */
const origins = new WeakMap<object, unknown>();

/**
 * Parses JSON and keeps in mind, for each object, the numbers that JavaScript
 * would round, such as 12345678901234567890. {@link stringifyExactly} writes
 * them again as they were; so does a simulation of an input, whose decision may
 * hang on them.
 */
export function parseExactly(text: string): unknown {
  const value: unknown = JSON.parse(text);
  const kept = text.replace(token, (t) => (t.startsWith('"') || isExact(t) ? t : `"${mark}${t}"`));
  if (kept !== text) {
    remember(value, JSON.parse(kept));
  }
  return value;
}

/**
 * Writes JSON, with the numbers of what {@link parseExactly} gave as they were.
 * What was changed since is written as it is now.
 */
export function stringifyExactly(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, (_, part: unknown) => originOf(part) ?? part, indent);
  return unmark(text);
}

function remember(value: unknown, origin: unknown): void {
  if (typeof value !== "object" || value === null) {
    return;
  }
  origins.set(value, origin);
  for (const [name, part] of Object.entries(value)) {
    remember(part, (origin as Record<string, unknown>)[name]);
  }
}

/** Finds what an object was parsed from, if it is still the same. */
function originOf(value: unknown): unknown {
  const origin = typeof value === "object" && value !== null ? origins.get(value) : undefined;
  if (origin === undefined) {
    return undefined;
  }
  return JSON.stringify(JSON.parse(unmark(JSON.stringify(origin)))) === JSON.stringify(value) ? origin : undefined;
}

function unmark(text: string): string {
  return text.replace(marked, "$1");
}

/** Tells whether JavaScript has a number as it is written. */
function isExact(text: string): boolean {
  const value = Number(text);
  return Number.isFinite(value) && decimal(text) === decimal(String(value));
}

/** A number as its digits and exponent, the same for every way to write it. */
function decimal(text: string): string {
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = (whole + fraction).replace(/^0+/, "");
  const significant = digits.replace(/0+$/, "");
  return significant === "" ? "0" : `${sign}${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`;
}
