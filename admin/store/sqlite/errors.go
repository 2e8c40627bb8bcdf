package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/caracalai/caracald/admin/store"
)

// translate gives SQLite's errors the meaning of the store's. Triggers say
// which they mean by how their messages begin.
func translate(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w: %w", store.ErrConflict, err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w: %w", store.ErrNotFound, err)
	case sqlite3.SQLITE_CONSTRAINT_TRIGGER:
		switch message := err.Error(); {
		case strings.Contains(message, "immutable: "):
			return fmt.Errorf("%w: %w", store.ErrImmutable, err)
		case strings.Contains(message, "exists: "):
			return fmt.Errorf("%w: %w", store.ErrConflict, err)
		}
	}
	return err
}
