/**
 * Parses JSON and keeps in mind, for each object, the numbers that JavaScript
 * would round, such as 12345678901234567890. {@link stringifyExactly} writes
 * them again as they were; so does a simulation of an input, whose decision may
 * hang on them.
 */
export declare function parseExactly(text: string): unknown;
/**
 * Writes JSON, with the numbers of what {@link parseExactly} gave as they were.
 * What was changed since is written as it is now.
 */
export declare function stringifyExactly(value: unknown, indent?: number): string;
