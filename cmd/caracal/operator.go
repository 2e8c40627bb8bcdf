package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/postgres"
	"github.com/caracalai/caracald/settings"
	"github.com/caracalai/caracald/telemetry"
)

// operatorSettings are the control plane's settings that matter to whoever
// works on its store. The others are taken, so that its configuration file and
// its variables fit, and not shown.
var operatorSettings = map[string]bool{
	"data-dir": true, "store": true, "store-owner": true, "bundle-key": true, "pointer-key": true, "trust-root": true, "pointer-ttl": true, "config": true,
}

// onStore makes a command that opens the store of a control plane, by the
// settings of that one, which may run meanwhile. check looks at the flags first.
func onStore(cmd *cobra.Command, check func() error, f func(ctx context.Context, loaded *settings.Loaded[settings.Admin], st store.Store) error) {
	own := map[string]bool{} // the command's own flags
	cmd.Flags().VisitAll(func(f *pflag.Flag) { own[f.Name] = true })
	loader := settings.Bind(cmd.Flags(), "CARACAL_ADMIN", settings.DefaultAdmin())
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = !own[f.Name] && !operatorSettings[f.Name] })
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if err := check(); err != nil {
			return err
		}
		loaded, err := loader.Load()
		if err != nil {
			return err
		}
		log, err := telemetry.NewLogger(cmd.ErrOrStderr(), "warn", "text")
		if err != nil {
			return err
		}
		st, err := openOperated(cmd.Context(), loaded, log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, st.Close()) }()
		return f(cmd.Context(), loaded, st)
	}
}

// openOperated opens a store that must be there. On PostgreSQL it needs no data
// directory.
func openOperated(ctx context.Context, loaded *settings.Loaded[settings.Admin], log *slog.Logger) (store.Store, error) {
	set := loaded.Settings
	if isPostgres(set.Store) {
		st, err := postgres.Open(ctx, set.Store, postgres.Options{OwnerURL: set.StoreOwner, Logger: log})
		if err != nil {
			return nil, err
		}
		return st, nil
	}
	if set.Store == "" { // opening it would make it
		if _, err := os.Stat(filepath.Join(set.DataDir, "control.db")); err != nil {
			return nil, loaded.Invalid("data-dir", fmt.Errorf("there is no store: %w", err))
		}
	}
	return openStore(ctx, loaded, log)
}

// operator is the name of who runs the command, for the audit.
func operator() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "operator " + u.Username
	}
	return "operator " + strconv.Itoa(os.Getuid())
}

func newRaiseCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "raise-sequence (--zone ZONE | --all-zones) --reason REASON", Short: "Move zones beyond what daemons have seen, after a restore", Args: noArgs,
		Long: `Issues the pointers of zones anew under higher sequences, in one step. After a restore
the store knows of less than daemons have seen; they refuse its pointers, because a
zone's sequence never goes back. What governs a zone stays. It is an activation in the
zone's history, with the reason, and in the admin audit.

Without --above, a zone is raised by 1,000 beyond the highest sequence that a daemon
reports, where that contradicts the store. So the control plane runs meanwhile, for
daemons to report to. Other zones are left alone. All zones are raised, or none.

It works on the store itself, by the control plane's settings: its configuration file,
variables or flags. It needs whoever may restore a store, and no token.`,
		Example: `  caracal admin raise-sequence --config /etc/caracal/admin.yaml --all-zones --reason 'after the restore' --dry-run
  caracal admin raise-sequence --data-dir /var/lib/caracal --zone 01a20be3-07c1-747a-9734-350fef73d44a --above 118 --reason 'after the restore'`,
	}
	f := cmd.Flags()
	all := f.Bool("all-zones", false, "every zone of the store, archived ones too")
	above := f.Int64("above", -1, "the sequence to go beyond, by one; what daemons report by default")
	far := f.Bool("far", false, "let a sequence be raised by more than 100,000")
	dry := f.Bool("dry-run", false, "show what would be done and do nothing")
	reason := f.String("reason", "", "why, for the history and the audit")
	check := func() error {
		switch {
		case *all && f.Changed("zone"):
			return fmt.Errorf("%w: --zone and --all-zones exclude each other", errUsage)
		case f.Changed("above") && *above < 0:
			return fmt.Errorf("%w: --above must not be negative", errUsage)
		case *reason == "" && !*dry:
			return fmt.Errorf("%w: --reason is required", errUsage)
		case len(*reason) > 2000:
			return fmt.Errorf("%w: --reason is longer than 2000 bytes", errUsage)
		case *all:
			return nil
		}
		_, err := a.zone()
		return err
	}
	onStore(cmd, check, func(ctx context.Context, loaded *settings.Loaded[settings.Admin], st store.Store) error {
		keys, err := operatorKeys(ctx, loaded, st)
		if err != nil {
			return err
		}
		r := admin.Raise{Keys: keys, PointerTTL: loaded.Settings.PointerTTL, Far: *far, DryRun: *dry, Reason: *reason, Operator: operator()}
		if !*all {
			if r.Zone, err = a.zone(); err != nil {
				return err
			}
		}
		if f.Changed("above") {
			r.Above = above
		}
		list, err := admin.RaiseSequences(ctx, st, r)
		if errors.Is(err, admin.ErrFar) {
			return fmt.Errorf("%w; --far if it is meant", err)
		}
		if err != nil {
			return err
		}
		return a.show(list, func() error { return a.printRaised(list, *dry) })
	})
	return cmd
}

func (a *app) printRaised(list []admin.Raised, dry bool) error {
	done := map[bool]string{false: "raised", true: "would be raised"}[dry]
	var rows [][]string
	for _, r := range list {
		state, reported := "left alone", "-"
		if r.After != r.Before {
			state = done
		}
		if r.Reported >= 0 {
			reported = strconv.FormatInt(r.Reported, 10)
		}
		rows = append(rows, []string{r.ZoneID, strconv.FormatInt(r.Before, 10), reported, orDash(&r.DaemonID), strconv.FormatInt(r.After, 10), state})
	}
	return a.table([]string{"ZONE", "SEQUENCE", "REPORTED", "BY DAEMON", "NEW SEQUENCE", ""}, rows)
}

func newRotateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate-keys [--pointers] [--bundles] [--root] --reason REASON", Short: "Make keys that the store keeps anew", Args: noArgs,
		Long: `Makes keys that the store keeps anew, and the trust root that follows, signed by the
root key from before and, where that is made anew too, by its successor. It lasts for
ten years from then. With --pointers every pointer is signed anew, at its sequence. It
is one transaction, and in the admin audit.

Control planes of the store may run meanwhile: they sign with the new keys at once.
Daemons and mirrors follow the root by themselves. Back the store up afterwards: one
with the keys from before signs what daemons that followed the root accept no more.

A bundles key from before still counts, for the bundles that it signed, unless
--forget-bundles is given: then make a version of each set that is active, and
activate it.

It works on the store itself, by the control plane's settings. Keys in files are
rotated with 'caracal key root init'.`,
		Example: "  caracal admin rotate-keys --config /etc/caracal/admin.yaml --pointers --bundles --reason 'as every year'",
	}
	f := cmd.Flags()
	var r admin.Rotation
	f.BoolVar(&r.Pointers, "pointers", false, "the key that signs pointers")
	f.BoolVar(&r.Bundles, "bundles", false, "the key that signs bundles")
	f.BoolVar(&r.Root, "root", false, "the key that signs trust roots")
	f.BoolVar(&r.Forget, "forget-bundles", false, "let what bundles keys from before signed count no more, because one was stolen; needs --bundles")
	f.StringVar(&r.Reason, "reason", "", "why, for the audit")
	check := func() error {
		switch {
		case !r.Pointers && !r.Bundles && !r.Root:
			return fmt.Errorf("%w: name at least one of --pointers, --bundles and --root", errUsage)
		case r.Forget && !r.Bundles:
			return fmt.Errorf("%w: --forget-bundles needs --bundles", errUsage)
		case r.Reason == "":
			return fmt.Errorf("%w: --reason is required", errUsage)
		}
		return nil
	}
	onStore(cmd, check, func(ctx context.Context, loaded *settings.Loaded[settings.Admin], st store.Store) error {
		if keysInFiles(loaded.Settings) {
			return errKeysInFiles
		}
		r.PointerTTL, r.Operator = loaded.Settings.PointerTTL, operator()
		done, err := admin.RotateKeys(ctx, st, r)
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, admin.ErrForeignKeys) {
			return fmt.Errorf("%w: %w", errKeysInFiles, err)
		}
		if err != nil {
			return err
		}
		return a.show(done, func() error {
			var bundles []string
			for _, id := range done.BundlesKeys {
				bundles = append(bundles, short(id))
			}
			return a.fields("trust root", strconv.FormatInt(done.Version, 10), "expires", when(done.Expires), "root key", short(done.RootKey),
				"pointers key", short(done.PointersKey), "bundles keys", strings.Join(bundles, " "), "pointers signed anew", strconv.Itoa(done.Pointers))
		})
	})
	return cmd
}

// errKeysInFiles is that the store's own keys are not those of the control plane.
var errKeysInFiles = errors.New("the control plane's keys are not in the store; rotate them with 'caracal key root init'")

// operatorKeys are the control plane's keys. They are never made here: a store
// without any is one whose keys are in files.
func operatorKeys(ctx context.Context, loaded *settings.Loaded[settings.Admin], st store.Store) (admin.Keys, error) {
	if keysInFiles(loaded.Settings) {
		return adminKeys(ctx, loaded, st)
	}
	keys, err := admin.LoadKeys(ctx, st)
	if errors.Is(err, store.ErrNotFound) {
		return keys, errors.New("the store keeps no keys: give the control plane's --bundle-key, --pointer-key and --trust-root")
	}
	return keys, err
}
