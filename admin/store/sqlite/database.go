package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/relational"
)

//go:embed migrations
var migrations embed.FS

// database is one file: a single connection writes, several read.
type database struct {
	path           string
	writer, reader *sql.DB
	// writes and reads are the statements that are prepared on either.
	writes, reads statements
}

// Every commit is synced before it is answered. foreign_keys makes references
// real. A checkpoint each 16 MiB rather than 4 rewrites fewer pages of indexes
// that grow everywhere at once; the size limit gives a WAL's space back after a burst.
var writerPragmas = []string{
	"foreign_keys(1)", "journal_mode(WAL)", "synchronous(FULL)", "fullfsync(1)",
	"wal_autocheckpoint(4096)", "journal_size_limit(67108864)", "cache_size(-32768)",
}

func openDatabase(ctx context.Context, path, schema string, readers int) (*database, error) {
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	db := &database{path: path}
	var err error
	if db.writer, err = sql.Open("sqlite", dsn(path, "immediate", writerPragmas...)); err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	db.writer.SetMaxOpenConns(1)
	if db.reader, err = sql.Open("sqlite", dsn(path, "deferred", "query_only(1)")); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), db.writer.Close())
	}
	db.reader.SetMaxOpenConns(readers + 1) // one is the watch's
	db.reader.SetMaxIdleConns(readers + 1)
	if err := migrate(ctx, db.writer, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), db.close())
	}
	return db, nil
}

// createPrivate makes the file when it is missing, because SQLite would let
// others read it, and makes its name survive a crash of the machine.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		// SQLite would open a file that cannot be written, and fail at the first write.
		f, err = os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return f.Close()
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func dsn(path, lock string, pragmas ...string) string {
	q := url.Values{"_txlock": {lock}, "_pragma": append([]string{"busy_timeout(10000)"}, pragmas...)}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

// migrateAttempts is how often migrating is tried. Where several processes open
// a new directory at once, all but one find a table made under their hands, and
// find everything done when they look again.
const migrateAttempts = 5

func migrate(ctx context.Context, db *sql.DB, schema string) error {
	files, err := fs.Sub(migrations, schema)
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := relational.Migrate(ctx, goose.DialectSQLite3, db, files)
		if err == nil || errors.Is(err, store.ErrSchema) || attempt == migrateAttempts || ctx.Err() != nil {
			return err
		}
	}
}

func (d *database) close() error {
	return errors.Join(d.reader.Close(), d.writer.Close())
}

// read runs f on one snapshot.
func (d *database) read(ctx context.Context, f func(*session) error) error {
	return inTx(ctx, d.reader, &d.reads, "reading the store", f)
}

// write runs f in a transaction that no other writer interleaves with.
func (d *database) write(ctx context.Context, f func(*session) error) error {
	return inTx(ctx, d.writer, &d.writes, "writing the store", f)
}

// inTx runs f in a transaction that ends with it, whatever happens.
func inTx(ctx context.Context, db *sql.DB, prepared *statements, what string, f func(*session) error) (err error) {
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, translate(err))
	}
	s := &session{t: t, prepared: prepared}
	done := false
	defer func() {
		if !done { // f failed or panicked
			if rerr := t.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	if err := f(s); err != nil {
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) { // it was rolled back under f's hands
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return err
	}
	if s.failed != nil {
		return fmt.Errorf("%s: %w", what, s.failed)
	}
	if err := t.Commit(); err != nil {
		return fmt.Errorf("%s: %w", what, translate(err))
	}
	done = true
	prepared.add(ctx, db, s.seen)
	return nil
}

// session is one transaction. Statements that ran before run prepared.
type session struct {
	t        *sql.Tx
	prepared *statements
	// seen are the statements that ran unprepared.
	seen []string
	// failed is the first write that the database refused.
	failed error
}

func (s *session) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if p := s.prepared.get(query); p != nil {
		return s.t.StmtContext(ctx, p).QueryContext(ctx, args...)
	}
	s.seen = append(s.seen, query)
	return s.t.QueryContext(ctx, query, args...)
}

func (s *session) row(ctx context.Context, query string, args ...any) *sql.Row {
	if p := s.prepared.get(query); p != nil {
		return s.t.StmtContext(ctx, p).QueryRowContext(ctx, args...)
	}
	s.seen = append(s.seen, query)
	return s.t.QueryRowContext(ctx, query, args...)
}

// Rows gives f each row of a query.
func (s *session) Rows(ctx context.Context, query string, args []any, f func(relational.Row) error) (err error) {
	rows, err := s.query(ctx, query, args...)
	if err != nil {
		return translate(err)
	}
	defer func() {
		if cerr := rows.Close(); err == nil && cerr != nil {
			err = translate(cerr)
		}
	}()
	for rows.Next() {
		if err := f(rows); err != nil {
			return translate(err)
		}
	}
	return translate(rows.Err())
}

// Row gives f the first row of a query.
func (s *session) Row(ctx context.Context, query string, args []any, f func(relational.Row) error) error {
	return translate(f(s.row(ctx, query, args...)))
}

// Exec writes.
func (s *session) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := s.exec(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// ForUpdate is empty: a transaction that writes is alone.
func (s *session) ForUpdate() string { return "" }

// Text is kept as it is.
func (s *session) Text(text string) string { return text }

// exec writes. What the database refuses, the transaction cannot commit.
func (s *session) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	var result sql.Result
	var err error
	if p := s.prepared.get(query); p != nil {
		result, err = s.t.StmtContext(ctx, p).ExecContext(ctx, args...)
	} else {
		s.seen = append(s.seen, query)
		result, err = s.t.ExecContext(ctx, query, args...)
	}
	if err != nil {
		err = translate(err)
		if s.failed == nil {
			s.failed = err
		}
		return nil, err
	}
	return result, nil
}

// statement is the prepared form of a query that runs many times in the session.
func (s *session) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if p := s.prepared.get(query); p != nil {
		return s.t.StmtContext(ctx, p), nil
	}
	s.seen = append(s.seen, query)
	p, err := s.t.PrepareContext(ctx, query)
	return p, translate(err)
}

// statements are prepared once for each connection. They are prepared between
// transactions: inside one, the only writing connection is taken.
type statements struct {
	byQuery sync.Map // of string to *sql.Stmt
	count   atomic.Int64
}

// maxStatements bounds what is prepared: queries with filters have many forms.
const maxStatements = 200

func (p *statements) get(query string) *sql.Stmt {
	if v, ok := p.byQuery.Load(query); ok {
		return v.(*sql.Stmt)
	}
	return nil
}

// add prepares what is not prepared yet. A statement that cannot be prepared
// now, goes on running unprepared.
func (p *statements) add(ctx context.Context, db *sql.DB, queries []string) {
	for _, query := range queries {
		if p.count.Load() >= maxStatements || p.get(query) != nil {
			continue
		}
		stmt, err := db.PrepareContext(ctx, query)
		if err != nil {
			return
		}
		if _, taken := p.byQuery.LoadOrStore(query, stmt); taken {
			_ = stmt.Close() // another transaction was first
			continue
		}
		p.count.Add(1)
	}
}
