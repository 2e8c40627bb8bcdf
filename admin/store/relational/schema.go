package relational

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/caracalai/caracald/admin/store"
)

// Migrate brings a database to the newest schema that the program has
// migrations for. A newer schema is left as it is: migrations only add, so that
// older programs go on beside newer ones, until a migration that takes something
// away raises the floor in the table schema_floor. A program that knows no
// schema as new as the floor is refused, with store.ErrSchema.
func Migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB, files fs.FS) error {
	provider, err := goose.NewProvider(dialect, db, files)
	if err != nil {
		return err
	}
	var known int64
	for _, s := range provider.ListSources() {
		known = max(known, s.Version)
	}
	there, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	if there > known {
		var floor int64
		if err := db.QueryRowContext(ctx, `SELECT floor FROM schema_floor`).Scan(&floor); err != nil {
			return fmt.Errorf("reading which programs may use schema %d: %w", there, err)
		}
		if floor > known {
			return fmt.Errorf("%w: it is %d and wants programs that know %d; this one knows %d", store.ErrSchema, there, floor, known)
		}
	}
	_, err = provider.Up(ctx)
	return err
}
