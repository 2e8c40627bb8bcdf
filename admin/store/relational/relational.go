// Package relational is what the store's backends on SQL databases have in
// common: the statements that read and write the control plane's tables, the
// chain over the admin audit, and the checks of what is stored. A backend
// brings its schema, its transactions and its errors.
//
// Statements are of the SQL that SQLite and PostgreSQL share, with a ? for each
// argument. Times are microseconds since 1970 in UTC.
package relational

import "context"

// Session is one transaction of a backend. Its errors have the meaning of the
// store's: ErrNotFound where a row or what it refers to is missing, ErrConflict
// where a unique value is taken, ErrImmutable where the database refused.
type Session interface {
	// Rows gives f each row of a query.
	Rows(ctx context.Context, query string, args []any, f func(Row) error) error
	// Row gives f the first row; ErrNotFound where there is none.
	Row(ctx context.Context, query string, args []any, f func(Row) error) error
	// Exec writes and tells how many rows it changed. What the database refuses, the transaction cannot commit.
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	// ForUpdate ends a query that locks the rows it reads, "" where a transaction that writes is alone.
	ForUpdate() string
	// Text is a text as the database would keep it.
	Text(s string) string
}

// Row is what one row is scanned from.
type Row interface{ Scan(into ...any) error }
