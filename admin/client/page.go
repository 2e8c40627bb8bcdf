package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"

	"github.com/caracalai/caracald/admin/api"
)

// Page asks for a part of a list. The zero Page is its beginning.
type Page struct {
	// Limit is 1 to 500; 0 leaves it to the control plane.
	Limit int
	// Cursor is NextCursor of the page before.
	Cursor string
}

func (p Page) query() url.Values {
	q := url.Values{}
	if p.Limit > 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
	if p.Cursor != "" {
		q.Set("cursor", p.Cursor)
	}
	return q
}

// All goes through a list page by page, newest first. list is a method of the
// client with all but the page filled in. An error ends it.
func All[T any](ctx context.Context, list func(context.Context, Page) (api.Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var at Page
		for {
			page, err := list(ctx, at)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.NextCursor == nil {
				return
			}
			at.Cursor = *page.NextCursor
		}
	}
}
