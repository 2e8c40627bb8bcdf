package relational

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// Micros is a time as databases keep it.
func Micros(t time.Time) int64 { return t.UnixMicro() }

func optional(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	m := t.UnixMicro()
	return &m
}

// document is JSON as databases keep it: "null" where there is none.
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

// Moment scans a time.
type Moment struct{ Into *time.Time }

func (m Moment) Scan(v any) error {
	i, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a time is kept as %T", v)
	}
	*m.Into = time.UnixMicro(i).UTC()
	return nil
}

// OptionalMoment scans a time that may be null.
type OptionalMoment struct{ Into **time.Time }

func (m OptionalMoment) Scan(v any) error {
	if v == nil {
		*m.Into = nil
		return nil
	}
	t := new(time.Time)
	*m.Into = t
	return Moment{t}.Scan(v)
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

// Num scans an integer; its type is inferred.
func Num[T int | int64 | uint64](into *T) number[T] { return number[T]{into} }

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

// ScanNumber and ScanText scan rows of one column.
func ScanNumber[T int | int64 | uint64](r Row, into *T) error { return r.Scan(Num(into)) }
func ScanText(r Row, into *string) error                      { return r.Scan(into) }

// One reads the row of a query; ErrNotFound where there is none.
func One[T any](ctx context.Context, s Session, scan func(Row, *T) error, query string, args ...any) (T, error) {
	var v T
	err := s.Row(ctx, query, args, func(r Row) error { return scan(r, &v) })
	return v, err
}

// Many reads all rows of a query.
func Many[T any](ctx context.Context, s Session, scan func(Row, *T) error, query string, args ...any) ([]T, error) {
	var list []T
	err := Each(ctx, s, scan, func(v T) error {
		list = append(list, v)
		return nil
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Each gives f the rows of a query one by one; f must not use the session.
func Each[T any](ctx context.Context, s Session, scan func(Row, *T) error, f func(T) error, query string, args ...any) error {
	return s.Rows(ctx, query, args, func(r Row) error {
		var v T
		if err := scan(r, &v); err != nil {
			return err
		}
		return f(v)
	})
}

// Position gives a cursor's two arguments; the zero cursor is before everything.
func Position(c store.Cursor) (at int64, id string) {
	if c == (store.Cursor{}) {
		return math.MaxInt64, ""
	}
	return Micros(c.At), c.ID
}

// Bound gives a limit's argument; 0 and less do not bound.
func Bound(limit int) int64 {
	if limit <= 0 {
		return math.MaxInt64
	}
	return int64(limit)
}

// Filter collects conditions.
type Filter struct {
	conditions []string
	// Args are the conditions' arguments, in order.
	Args []any
}

// Add adds a condition with its arguments, a ? for each.
func (f *Filter) Add(condition string, args ...any) {
	f.conditions = append(f.conditions, condition)
	f.Args = append(f.Args, args...)
}

// Equal adds that a column has a value, unless that is "".
func (f *Filter) Equal(column, value string) {
	if value != "" {
		f.Add(column+" = ?", value)
	}
}

// Between keeps since <= column < until, where they are set.
func (f *Filter) Between(column string, since, until time.Time) {
	if !since.IsZero() {
		f.Add(column+" >= ?", Micros(since))
	}
	if !until.IsZero() {
		f.Add(column+" < ?", Micros(until))
	}
}

// Where is the clause, "" where there are no conditions.
func (f *Filter) Where() string {
	if len(f.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(f.conditions, " AND ")
}
