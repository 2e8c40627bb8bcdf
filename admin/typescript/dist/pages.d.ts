/** A part of a list, newest first. */
export interface Page<T> {
    items: T[];
    /** Asks for the page after; null on the last one. */
    next_cursor: string | null;
}
/** Which part of a list is asked for. */
export interface PageQuery {
    /** The most items of the page, 1 to 500; 200 by default. */
    limit?: number | undefined;
    /** `next_cursor` of the page before; without it, the beginning. */
    cursor?: string | null | undefined;
}
/** How much of a list is gone through. */
export interface ListQuery {
    /** The most items in all; everything by default. */
    limit?: number | undefined;
}
/** Goes through a list page by page, and asks for a page when the one before is used up. */
export declare function iterate<T>(limit: number | undefined, page: (query: {
    limit?: number;
    cursor?: string;
}) => Promise<Page<T>>): AsyncGenerator<T, void, undefined>;
/** Reads a list whole. */
export declare function drain<T>(items: AsyncIterable<T>): Promise<T[]>;
