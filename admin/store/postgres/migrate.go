package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/caracalai/caracald/admin/store/relational"
)

//go:embed migrations
var migrations embed.FS

//go:embed grants.sql
var grants string

// migrateLock is the advisory lock under which one replica migrates at a time.
const migrateLock = 0x63617261_63616c02

// migrate brings the schema to its newest version, as its owner, and grants the
// role of the store its rights.
func migrate(ctx context.Context, url, ownerURL string) (err error) {
	runtime, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("reading the store's URL: %w", err)
	}
	owner := runtime.Copy()
	if ownerURL != "" {
		if owner, err = pgx.ParseConfig(ownerURL); err != nil {
			return fmt.Errorf("reading the URL of the store's owner: %w", err)
		}
	}
	configure(owner)
	db := stdlib.OpenDB(*owner)
	defer func() { err = errors.Join(err, db.Close()) }()
	lock, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connecting to the store: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if _, err := lock.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, int64(migrateLock)); err != nil {
		return fmt.Errorf("waiting for other migrations: %w", err)
	}
	defer func() {
		_, uerr := lock.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(migrateLock))
		err = errors.Join(err, uerr)
	}()
	if err := up(ctx, db); err != nil {
		return fmt.Errorf("migrating the store: %w", err)
	}
	if owner.User == runtime.User {
		return nil
	}
	role := pgx.Identifier{runtime.User}.Sanitize()
	if _, err := db.ExecContext(ctx, strings.ReplaceAll(grants, "@role", role)); err != nil {
		return fmt.Errorf("granting %s its rights: %w", role, err)
	}
	return nil
}

func up(ctx context.Context, db *sql.DB) error {
	var there bool
	if err := db.QueryRowContext(ctx, `SELECT to_regnamespace($1) IS NOT NULL`, schema).Scan(&there); err != nil {
		return err
	}
	if !there { // asking for it where it is there would need the right to make one
		if _, err := db.ExecContext(ctx, `CREATE SCHEMA `+schema); err != nil {
			return err
		}
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return relational.Migrate(ctx, goose.DialectPostgres, db, files)
}
