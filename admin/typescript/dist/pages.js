/** The most items that the API gives at once. */
const maxPage = 500;
/** Goes through a list page by page, and asks for a page when the one before is used up. */
export async function* iterate(limit, page) {
    let left = limit ?? Infinity;
    let cursor = null;
    while (left > 0) {
        const query = {};
        if (left !== Infinity) {
            query.limit = Math.min(left, maxPage);
        }
        if (cursor !== null) {
            query.cursor = cursor;
        }
        const { items, next_cursor } = await page(query);
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
export async function drain(items) {
    const all = [];
    for await (const item of items) {
        all.push(item);
    }
    return all;
}
