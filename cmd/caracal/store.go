package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/postgres"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/settings"
)

// isPostgres tells whether a store's address is of a PostgreSQL database.
func isPostgres(address string) bool {
	return strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")
}

// openStore opens the store that the settings choose. The data directory is
// there afterwards.
func openStore(ctx context.Context, loaded *settings.Loaded[settings.Admin], log *slog.Logger) (store.Store, error) {
	set := loaded.Settings
	switch {
	case set.Store == "" && set.StoreOwner != "":
		return nil, loaded.Invalid("store-owner", errors.New("needs store"))
	case set.StorePoll <= 0:
		return nil, loaded.Invalid("store-poll", errors.New("must be more than 0"))
	case set.Store == "":
		st, err := sqlite.Open(ctx, set.DataDir, sqlite.Options{Logger: log, PollInterval: set.StorePoll})
		if err != nil {
			return nil, loaded.Failed("data-dir", err)
		}
		return st, nil
	case !isPostgres(set.Store):
		return nil, loaded.Invalid("store", errors.New("is not a URL that begins with postgres://"))
	}
	if err := os.MkdirAll(set.DataDir, 0o700); err != nil {
		return nil, loaded.Failed("data-dir", err)
	}
	st, err := postgres.Open(ctx, set.Store, postgres.Options{OwnerURL: set.StoreOwner, Logger: log, PollInterval: set.StorePoll})
	if err != nil {
		return nil, err
	}
	return st, nil
}
