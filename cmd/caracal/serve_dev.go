package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/internal/durable"
	"github.com/caracalai/caracald/settings"
	"github.com/caracalai/caracald/telemetry"
)

func newDevCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine: control plane, daemon and a demo zone",
		Long: `Runs the control plane and a daemon in one process, over an embedded store, with a
demo zone. When it is ready it writes DATA-DIR/env and prints the same; source it to
use the other commands and the examples. It runs until interrupted.

Every setting is a flag, an environment variable (CARACAL_DEV_...) or a key of the
YAML file given by --config, in this order of precedence.`,
		Example: "  caracal dev --data-dir ./dev-data\n  . ./dev-data/env",
		Args:    noArgs,
	}
	loader := settings.Bind(cmd.Flags(), "CARACAL_DEV", settings.DefaultDev())
	printOnly := cmd.Flags().Bool("print-config", false, "print the settings and where each is from, and end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := loader.Load()
		if err != nil {
			return err
		}
		if *printOnly {
			return loaded.Print(cmd.OutOrStdout())
		}
		log, err := telemetry.NewLogger(cmd.ErrOrStderr(), loaded.Settings.LogLevel, loaded.Settings.LogFormat)
		if err != nil {
			return fmt.Errorf("%w: %w", settings.ErrInvalid, err)
		}
		return serveDev(cmd.Context(), loaded, log, func(env string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), env)
			return err
		})
	}
	return cmd
}

// serveDev runs both halves until ctx ends. ready is given the env file's text
// once everything answers.
func serveDev(ctx context.Context, loaded *settings.Loaded[settings.Dev], log *slog.Logger, ready func(env string) error) (err error) {
	set := loaded.Settings
	observed, err := telemetry.Start(ctx, "caracal-dev", version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopTelemetry(observed)) }()
	st, err := sqlite.Open(ctx, filepath.Join(set.DataDir, "store"), sqlite.Options{Logger: log})
	if err != nil {
		return loaded.Failed("data-dir", err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if set.Token == "" {
		if set.Token, err = keptToken(filepath.Join(set.DataDir, "admin-token")); err != nil {
			return loaded.Failed("data-dir", err)
		}
	}
	keys, err := admin.LoadOrCreateKeys(ctx, st, time.Now())
	if err != nil {
		return err
	}
	server, err := admin.New(ctx, admin.Config{
		Store: st, Keys: keys, BootstrapToken: set.Token, Metrics: observed.Metrics, Logger: log.With("half", "admin"),
		MeterProvider: observed.Meters, TracerProvider: observed.Tracers, Version: version,
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", set.AdminAddr)
	if err != nil {
		return loaded.Failed("admin-addr", err)
	}
	// The control plane outlives the daemon, so that the daemon's last audit is shipped.
	adminCtx, stopAdmin := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAdmin()
	var g errgroup.Group
	g.Go(func() error { return serve(adminCtx, server, listener, nil) })
	err = func() error {
		c, err := client.New("http://"+listener.Addr().String(), set.Token)
		if err != nil {
			return err
		}
		zone, err := demoZone(ctx, c, set.Zone)
		if err != nil {
			return err
		}
		token, err := daemonToken(ctx, c, filepath.Join(set.DataDir, "daemon-token"))
		if err != nil {
			return err
		}
		socket := set.DecideSocket
		switch socket {
		case "":
			socket = filepath.Join(set.DataDir, "decide.sock")
		case "-":
			socket = ""
		}
		d, err := daemon.New(daemon.Config{
			AdminURLs: []string{c.BaseURL()}, Token: token, TrustRoot: keys.Roots[0], StateDir: filepath.Join(set.DataDir, "daemon"),
			DecideAddr: set.DecideAddr, DecideSocket: socket, CacheBytes: settings.DefaultDaemon().CacheBytes, Name: "dev", Version: version,
			// With everything on one machine nobody waits long for anybody.
			Heartbeat: 5 * time.Second, RetryMax: time.Second, ShipInterval: 50 * time.Millisecond,
			Metrics: observed.Metrics, Logger: log.With("half", "daemon"), MeterProvider: observed.Meters, TracerProvider: observed.Tracers,
		})
		if err != nil {
			return err
		}
		running, ctx := errgroup.WithContext(ctx)
		running.Go(func() error { return d.Run(ctx) })
		running.Go(func() error {
			select {
			case <-ctx.Done():
				return nil
			case <-d.Ready():
			}
			env := envFile(c.BaseURL(), set.Token, zone, "http://"+d.Addr().String())
			if err := durable.Replace(filepath.Join(set.DataDir, "env"), []byte(env), 0o600); err != nil {
				return loaded.Failed("data-dir", err)
			}
			return ready(env)
		})
		return running.Wait()
	}()
	stopAdmin()
	return errors.Join(err, g.Wait())
}

// envFile is what a shell sources.
func envFile(api, token, zone, decide string) string {
	var b strings.Builder
	for _, v := range [][2]string{{"CARACAL_API_URL", api}, {"CARACAL_ADMIN_TOKEN", token}, {"CARACAL_ZONE_ID", zone}, {"CARACAL_DECIDE_URL", decide}} {
		fmt.Fprintf(&b, "export %s=%s\n", v[0], v[1])
	}
	return b.String()
}

// demoZone finds the zone of a name, and makes it when there is none.
func demoZone(ctx context.Context, c *client.Client, name string) (string, error) {
	for z, err := range client.All(ctx, c.Zones) {
		if err != nil {
			return "", fmt.Errorf("looking for the demo zone: %w", err)
		}
		if z.Name == name {
			return z.ID, nil
		}
	}
	z, err := c.CreateZone(ctx, api.ZoneCreate{Name: name})
	if err != nil {
		return "", fmt.Errorf("making the demo zone: %w", err)
	}
	return z.ID, nil
}

// daemonToken reads the daemon's token from a file, and makes both when there is none.
func daemonToken(ctx context.Context, c *client.Client, path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	t, err := c.CreateToken(ctx, api.TokenCreate{Name: "dev daemon", Roles: []string{api.RoleDaemon}})
	if err != nil {
		return "", fmt.Errorf("making the daemon's token: %w", err)
	}
	return t.Secret, durable.Replace(path, []byte(t.Secret+"\n"), 0o600)
}
