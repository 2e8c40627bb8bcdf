package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/admin/store/postgres"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/admin/store/transfer"
)

func newCopyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "copy --from STORE --to STORE", Short: "Copy everything from one store to another", Args: noArgs,
		Long: `Copies everything from one store to another: zones, policies, bundles, pointers,
tokens, keys, the audit and the admin audit, with their ids, numbers and hashes.
Stop the control planes of both stores first.

A store is the data directory of one on SQLite, or the postgres:// URL of one on
PostgreSQL. The destination must be new, or an interrupted copy of the same
source: that is continued. At the end every table is compared, by counts and
hashes, and the destination is checked.`,
		Example: "  caracal admin copy --from /var/lib/caracal --to postgres://caracal@db/caracal --to-owner postgres://caracal_owner@db/caracal",
	}
	f := cmd.Flags()
	from := f.String("from", "", "the source: a data directory or a postgres:// URL")
	to := f.String("to", "", "the destination: a data directory or a postgres:// URL")
	owner := f.String("to-owner", "", "postgres:// URL that logs in as the owner of the destination's schema; --to when empty")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *from == "" || *to == "" {
			return fmt.Errorf("%w: --from and --to are required", errUsage)
		}
		if !isPostgres(*from) {
			if _, err := os.Stat(filepath.Join(*from, "control.db")); err != nil {
				return fmt.Errorf("%w: there is no store in %s: %w", errUsage, *from, err)
			}
		}
		return a.copyStore(cmd.Context(), *from, *to, *owner)
	}
	return cmd
}

func (a *app) copyStore(ctx context.Context, from, to, owner string) (err error) {
	source, err := openCopy(ctx, from, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	destination, err := openCopy(ctx, to, owner)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, destination.Close()) }()
	var bar *progressbar.ProgressBar
	copied, err := transfer.Copy(ctx, source, destination, func(rows, of int64) {
		if bar == nil {
			bar = a.progress(of, "copying and verifying")
		}
		_ = bar.Set64(rows) // a bar that cannot be drawn stops no copy
	})
	if bar != nil {
		_ = bar.Exit()
	}
	if err != nil {
		return err
	}
	again := ""
	if copied.Earlier > 0 {
		again = fmt.Sprintf(", %d of them in an earlier run", copied.Earlier)
	}
	return a.print(fmt.Sprintf("%d rows are copied%s; counts and hashes agree", copied.Rows, again))
}

// openCopy opens a store by its address.
func openCopy(ctx context.Context, address, owner string) (transfer.Store, error) {
	if isPostgres(address) {
		st, err := postgres.Open(ctx, address, postgres.Options{OwnerURL: owner})
		if err != nil {
			return nil, err
		}
		return st, nil
	}
	st, err := sqlite.Open(ctx, address, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	return st, nil
}
