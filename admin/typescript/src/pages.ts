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

/** The most items that the API gives at once. */
const maxPage = 500;

/** Goes through a list page by page, and asks for a page when the one before is used up. */
export async function* iterate<T>(
  limit: number | undefined,
  page: (query: { limit?: number; cursor?: string }) => Promise<Page<T>>,
): AsyncGenerator<T, void, undefined> {
  let left = limit ?? Infinity;
  let cursor: string | null = null;
  while (left > 0) {
    const query: { limit?: number; cursor?: string } = {};
    if (left !== Infinity) {
      query.limit = Math.min(left, maxPage);
    }
    if (cursor !== null) {
      query.cursor = cursor;
    }
    const { items, next_cursor }: Page<T> = await page(query);
    if (!Array.isArray(items) || next_cursor === undefined) {
      throw new Error("the answer is no page of a list: missing items or next_cursor");
    }
    for (const item of items) {
      if (left-- <= 0) {
        return;
      }
      yield item;
    }
    if (next_cursor === null) {
      return;
    }
    if (next_cursor === cursor) {
      throw new Error("the list does not end: a page names itself as the next one");
    }
    cursor = next_cursor;
  }
}

/** Reads a list whole. */
export async function drain<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) {
    all.push(item);
  }
  return all;
}
