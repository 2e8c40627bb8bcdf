package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/relational"
)

// session is one transaction.
type session struct {
	t pgx.Tx
	// failed is the first write that the database refused.
	failed error
}

var _ relational.Session = (*session)(nil)

// endTimeout bounds how long a commit or roll-back may take: they go on where
// the caller's context has ended, because half of one must not remain.
const endTimeout = 30 * time.Second

// read runs f on one snapshot.
func read(ctx context.Context, pool *pgxpool.Pool, f func(*session) error) error {
	return inTx(ctx, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, "reading the store", f)
}

// write runs f in a transaction whose statements each see what was committed
// before them: what f must not see change, it locks.
func write(ctx context.Context, pool *pgxpool.Pool, f func(*session) error) error {
	return inTx(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, "writing the store", f)
}

// inTx runs f in a transaction that ends with it, whatever happens.
func inTx(ctx context.Context, pool *pgxpool.Pool, o pgx.TxOptions, what string, f func(*session) error) (err error) {
	t, err := begin(ctx, pool, o)
	if err != nil {
		return fmt.Errorf("%s: %w", what, because(ctx, translate(err)))
	}
	s := &session{t: t}
	done := false
	defer func() {
		if done {
			return
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout) // f failed or panicked
		defer cancel()
		// Where the roll-back fails the connection is gone, and the transaction with it.
		_ = t.Rollback(end)
	}()
	if err := f(s); err != nil {
		return because(ctx, err)
	}
	if s.failed != nil {
		return fmt.Errorf("%s: %w", what, s.failed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := t.Commit(end); err != nil {
		return fmt.Errorf("%s: %w", what, translate(err))
	}
	done = true
	return nil
}

// because adds why a context ended to an error that came of it.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// begin begins a transaction. Connections that broke while nobody used them are
// found out now: nothing was done on them, so others are tried.
func begin(ctx context.Context, pool *pgxpool.Pool, o pgx.TxOptions) (pgx.Tx, error) {
	t, err := pool.BeginTx(ctx, o)
	var refused *pgconn.PgError
	if err == nil || ctx.Err() != nil || (errors.As(err, &refused) && refused.Code[:2] != "57") { // 57: the server ended the session
		return t, err
	}
	pool.Reset()
	return pool.BeginTx(ctx, o)
}

// Rows gives f each row of a query.
func (s *session) Rows(ctx context.Context, query string, args []any, f func(relational.Row) error) error {
	rows, err := s.t.Query(ctx, numbered(query), clean(args)...)
	if err != nil {
		return translate(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return translate(rows.Err())
}

// Row gives f the first row of a query.
func (s *session) Row(ctx context.Context, query string, args []any, f func(relational.Row) error) error {
	return translate(f(s.t.QueryRow(ctx, numbered(query), clean(args)...)))
}

// Exec writes.
func (s *session) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	tag, err := s.t.Exec(ctx, numbered(query), clean(args)...)
	if err != nil {
		err = translate(err)
		if s.failed == nil {
			s.failed = err
		}
		return 0, err
	}
	return tag.RowsAffected(), nil
}

// ForUpdate locks rows against other transactions.
func (s *session) ForUpdate() string { return " FOR UPDATE" }

// Text is a text as PostgreSQL can keep it: valid UTF-8 without NUL.
func (s *session) Text(text string) string { return keepable(text) }

func keepable(text string) string {
	if strings.IndexByte(text, 0) >= 0 {
		text = strings.ReplaceAll(text, "\x00", "\uFFFD")
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

func clean(args []any) []any {
	for i, arg := range args {
		if text, ok := arg.(string); ok {
			args[i] = keepable(text)
		}
	}
	return args
}

// numberedQueries keeps what numbered made, by the query.
var numberedQueries sync.Map

// numbered makes $1, $2 of the marks for arguments. Statements have no ? elsewhere.
func numbered(query string) string {
	if v, ok := numberedQueries.Load(query); ok {
		return v.(string)
	}
	var b strings.Builder
	for n, part := range strings.Split(query, "?") {
		if n > 0 {
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		}
		b.WriteString(part)
	}
	numberedQueries.Store(query, b.String())
	return b.String()
}

// translate gives PostgreSQL's errors the meaning of the store's.
func translate(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return store.ErrNotFound
	}
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case "23505": // unique_violation
		return fmt.Errorf("%w: %w", store.ErrConflict, err)
	case "23503": // foreign_key_violation
		return fmt.Errorf("%w: %w", store.ErrNotFound, err)
	case "CI001", "42501": // a trigger's refusal, insufficient_privilege
		return fmt.Errorf("%w: %w", store.ErrImmutable, err)
	}
	return err
}
