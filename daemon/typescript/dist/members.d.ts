/** The members of an object in order, each value as text; undefined for what is no object. */
export declare function members(text: string): [name: string, value: string][] | undefined;
/** The elements of an array, as text; undefined for what is no array. */
export declare function elements(text: string): string[] | undefined;
