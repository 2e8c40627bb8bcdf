package admin

import (
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
)

// paged turns up to limit+1 rows into a page of limit items; the row too many
// only tells that there is a next page.
func paged[Row, Item any](rows []Row, limit int, item func(Row) (Item, error), at func(Row) store.Cursor) (api.Page[Item], error) {
	page := api.Page[Item]{Items: make([]Item, 0, min(len(rows), limit))}
	if len(rows) > limit {
		rows = rows[:limit]
		next := formatCursor(at(rows[limit-1]))
		page.NextCursor = &next
	}
	for _, row := range rows {
		it, err := item(row)
		if err != nil {
			return page, err
		}
		page.Items = append(page.Items, it)
	}
	return page, nil
}
