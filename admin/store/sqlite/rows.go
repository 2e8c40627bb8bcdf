package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// micros is a time as the files keep it.
func micros(t time.Time) int64 { return t.UnixMicro() }

func optional(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	m := t.UnixMicro()
	return &m
}

// document is JSON as control.db keeps it: "null" where there is none.
func document(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "null"
	}
	return string(raw)
}

// bytesOf is a value for a column that must not be null.
func bytesOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// moment scans a time.
type moment struct{ into *time.Time }

func (m moment) Scan(v any) error {
	i, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a time is kept as %T", v)
	}
	*m.into = time.UnixMicro(i).UTC()
	return nil
}

// optionalMoment scans a time that may be null.
type optionalMoment struct{ into **time.Time }

func (m optionalMoment) Scan(v any) error {
	if v == nil {
		*m.into = nil
		return nil
	}
	t := new(time.Time)
	*m.into = t
	return moment{t}.Scan(v)
}

// number scans an integer without the reflection that database/sql needs for one.
type number[T int | int64 | uint64] struct{ into *T }

func (n number[T]) Scan(v any) error {
	i, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a number is kept as %T", v)
	}
	*n.into = T(i)
	return nil
}

// num is number with its type inferred.
func num[T int | int64 | uint64](into *T) number[T] { return number[T]{into} }

// raw scans JSON that is kept as text.
type raw struct{ into *json.RawMessage }

func (r raw) Scan(v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("a document is kept as %T", v)
	}
	*r.into = json.RawMessage(s)
	return nil
}

// optionalText scans a text that may be null.
type optionalText struct{ into **string }

func (o optionalText) Scan(v any) error {
	switch s := v.(type) {
	case nil:
		*o.into = nil
	case string:
		*o.into = &s
	default:
		return fmt.Errorf("a text is kept as %T", v)
	}
	return nil
}

// row is what one row is scanned from.
type row interface{ Scan(into ...any) error }

// scanNumber and scanText scan rows of one column.
func scanNumber[T int | int64 | uint64](r row, into *T) error { return r.Scan(num(into)) }
func scanText(r row, into *string) error                      { return r.Scan(into) }

// one reads the row of a query; ErrNotFound where there is none.
func one[T any](ctx context.Context, t *session, scan func(row, *T) error, query string, args ...any) (T, error) {
	var v T
	err := scan(t.row(ctx, query, args...), &v)
	return v, translate(err)
}

// many reads all rows of a query.
func many[T any](ctx context.Context, t *session, scan func(row, *T) error, query string, args ...any) ([]T, error) {
	var list []T
	err := each(ctx, t, scan, func(v T) error {
		list = append(list, v)
		return nil
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return list, nil
}

// each gives f the rows of a query one by one.
func each[T any](ctx context.Context, t *session, scan func(row, *T) error, f func(T) error, query string, args ...any) (err error) {
	rows, err := t.query(ctx, query, args...)
	if err != nil {
		return translate(err)
	}
	defer func() {
		if cerr := rows.Close(); err == nil && cerr != nil {
			err = translate(cerr)
		}
	}()
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return translate(err)
		}
		if err := f(v); err != nil {
			return err
		}
	}
	return translate(rows.Err())
}

// position gives a cursor's two arguments; the zero cursor is before everything.
func position(c store.Cursor) (at int64, id string) {
	if c == (store.Cursor{}) {
		return math.MaxInt64, ""
	}
	return micros(c.At), c.ID
}

// bound gives a limit's argument; 0 and less do not bound.
func bound(limit int) int {
	if limit <= 0 {
		return -1
	}
	return limit
}

// filter collects conditions.
type filter struct {
	conditions []string
	args       []any
}

func (f *filter) add(condition string, args ...any) {
	f.conditions = append(f.conditions, condition)
	f.args = append(f.args, args...)
}

func (f *filter) equal(column, value string) {
	if value != "" {
		f.add(column+" = ?", value)
	}
}

// between keeps since <= column < until, where they are set.
func (f *filter) between(column string, since, until time.Time) {
	if !since.IsZero() {
		f.add(column+" >= ?", micros(since))
	}
	if !until.IsZero() {
		f.add(column+" < ?", micros(until))
	}
}

func (f *filter) where() string {
	if len(f.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(f.conditions, " AND ")
}
