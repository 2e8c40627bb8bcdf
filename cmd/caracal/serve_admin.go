package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
	_ "github.com/caracalai/caracald/distribution/drivers" // the stores of --bundle-store and --bundle-source
	"github.com/caracalai/caracald/internal/durable"
	"github.com/caracalai/caracald/internal/health"
	"github.com/caracalai/caracald/internal/serving"
	"github.com/caracalai/caracald/settings"
	"github.com/caracalai/caracald/telemetry"
)

func newAdminCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Run the control plane",
		Long: `Runs the control plane: the admin API, the store, and what daemons ask.

The store is SQLite files in the data directory. With --store it is a PostgreSQL
database, that any number of control planes share.

Every setting is a flag, an environment variable (CARACAL_ADMIN_...) or a key of
the YAML file given by --config, in this order of precedence.`,
		Example: "  caracal admin --data-dir /var/lib/caracal --admin-addr 127.0.0.1:3000",
		Args:    noArgs,
	}
	loader := settings.Bind(cmd.Flags(), "CARACAL_ADMIN", settings.DefaultAdmin())
	printOnly := cmd.Flags().Bool("print-config", false, "print the settings and where each is from, and end")
	check := health.Bind(cmd.Flags())
	cmd.AddCommand(newCopyCommand(a), newRaiseCommand(a), newRotateCommand(a))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := loader.Load()
		if err != nil {
			return err
		}
		if *printOnly {
			return loaded.Print(cmd.OutOrStdout())
		}
		if check.Wanted() {
			return check.Ask(cmd.Context(), health.Server{Addr: loaded.Settings.Addr, TLS: loaded.Settings.TLSCert != ""}, cmd.OutOrStdout())
		}
		log, err := telemetry.NewLogger(cmd.ErrOrStderr(), loaded.Settings.LogLevel, loaded.Settings.LogFormat)
		if err != nil {
			return fmt.Errorf("%w: %w", settings.ErrInvalid, err)
		}
		return serveAdmin(cmd.Context(), loaded, log)
	}
	return cmd
}

// serveAdmin runs a control plane until ctx ends.
func serveAdmin(ctx context.Context, loaded *settings.Loaded[settings.Admin], log *slog.Logger) (err error) {
	set := loaded.Settings
	observed, err := telemetry.Start(ctx, "caracal-admin", version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopTelemetry(observed)) }()
	secure, err := adminTLS(loaded)
	if err != nil {
		return err
	}
	st, err := openStore(ctx, loaded, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if set.Token == "" {
		file := filepath.Join(set.DataDir, "admin-token")
		if set.Token, err = keptToken(file); err != nil {
			return loaded.Failed("data-dir", err)
		}
		if set.Store != "" {
			if set.Token, err = sharedToken(ctx, st, file, set.Token); err != nil {
				return err
			}
		}
	}
	keys, err := adminKeys(ctx, loaded, st)
	if err != nil {
		return err
	}
	var bundles *distribution.Store
	if set.BundleStore != "" {
		if bundles, err = distribution.OpenStore(ctx, set.BundleStore); err != nil {
			return loaded.Invalid("bundle-store", err)
		}
		defer func() { err = errors.Join(err, bundles.Close()) }()
	}
	server, err := admin.New(ctx, admin.Config{
		Store:               st,
		Keys:                keys,
		BundleStore:         bundles,
		BootstrapToken:      set.Token,
		PointerTTL:          set.PointerTTL,
		HeartbeatTimeout:    set.HeartbeatTimeout,
		LoadedShare:         set.LoadedShare,
		ForgetDaemonsAfter:  set.ForgetDaemons,
		MaintenanceInterval: set.MaintenanceInterval,
		LeaseTTL:            set.LeaseTTL,
		MaxWatchers:         openable(set.MaxWatchers, log),
		FetchRate:           set.FetchRate,
		Metrics:             observed.Metrics,
		Logger:              log,
		MeterProvider:       observed.Meters,
		TracerProvider:      observed.Tracers,
		Version:             version,
	})
	if err != nil {
		return err
	}
	consumer, err := auditConsumer(loaded, server, log, observed)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", set.Addr)
	if err != nil {
		return loaded.Failed("admin-addr", err)
	}
	log.Info("the admin API is served", "address", listener.Addr().String(), "data", set.DataDir)
	if consumer == nil {
		return serve(ctx, server, listener, secure)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return consumer.Run(ctx) })
	g.Go(func() error { return serve(ctx, server, listener, secure) })
	return g.Wait()
}

// serve serves a control plane or a mirror on a listener until ctx ends, and
// then lets the calls under way finish.
func serve(ctx context.Context, server interface {
	Handler() http.Handler
	Run(ctx context.Context) error
}, listener net.Listener, secure *tls.Config) error {
	// Long polls and tails end with the base context, so that a stop needs not wait for them.
	base, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	h := serving.New(server.Handler())
	h.BaseContext = func(net.Listener) context.Context { return base }
	if secure != nil {
		listener = serving.Secure(listener, secure)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Run(ctx) })
	g.Go(func() error {
		if err := h.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving %s: %w", listener.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		release()
		stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Shutdown(stop); err != nil {
			return errors.Join(fmt.Errorf("stopping to serve %s: %w", listener.Addr(), err), h.Close())
		}
		return nil
	})
	return g.Wait()
}

// adminKeys are those of the files that are set, otherwise those of the store.
func adminKeys(ctx context.Context, loaded *settings.Loaded[settings.Admin], st store.Store) (admin.Keys, error) {
	set := loaded.Settings
	if !keysInFiles(set) {
		return admin.LoadOrCreateKeys(ctx, st, time.Now())
	}
	var keys admin.Keys
	for _, k := range []struct {
		name, file string
		into       **bundle.PrivateKey
	}{{"bundle-key", set.BundleKey, &keys.Bundles}, {"pointer-key", set.PointerKey, &keys.Pointers}} {
		if k.file == "" {
			return keys, loaded.Invalid(k.name, errors.New("is required together with the other key and trust-root"))
		}
		pem, err := os.ReadFile(k.file)
		if err != nil {
			return keys, loaded.Invalid(k.name, err)
		}
		if *k.into, err = bundle.ParsePrivateKey(pem); err != nil {
			return keys, loaded.Invalid(k.name, err)
		}
	}
	if len(set.TrustRoots) == 0 {
		return keys, loaded.Invalid("trust-root", errors.New("is required with bundle-key and pointer-key"))
	}
	for _, name := range set.TrustRoots {
		root, err := os.ReadFile(name)
		if err != nil {
			return keys, loaded.Invalid("trust-root", err)
		}
		keys.Roots = append(keys.Roots, json.RawMessage(root))
	}
	return keys, nil
}

func keysInFiles(set settings.Admin) bool {
	return set.BundleKey != "" || set.PointerKey != "" || len(set.TrustRoots) > 0
}

// adminTLS is nil where no certificate is set.
func adminTLS(loaded *settings.Loaded[settings.Admin]) (*tls.Config, error) {
	set := loaded.Settings
	if set.TLSCert == "" && set.TLSKey == "" {
		if set.ClientCA != "" {
			return nil, loaded.Invalid("client-ca", errors.New("needs tls-cert and tls-key"))
		}
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(set.TLSCert, set.TLSKey)
	if err != nil {
		return nil, loaded.Invalid("tls-cert", err)
	}
	secure := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if set.ClientCA != "" {
		pem, err := os.ReadFile(set.ClientCA)
		if err != nil {
			return nil, loaded.Invalid("client-ca", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, loaded.Invalid("client-ca", errors.New("has no certificate"))
		}
		secure.ClientCAs, secure.ClientAuth = pool, tls.VerifyClientCertIfGiven
	}
	return secure, nil
}

// keptToken reads a token from a file, and makes both when there is none.
func keptToken(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		if token := strings.TrimSpace(string(data)); len(token) >= 16 {
			return token, nil
		}
		return "", fmt.Errorf("%s holds no token of at least 16 characters", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	token := "crcl_" + rand.Text()
	if err := durable.Replace(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keeping the admin token: %w", err)
	}
	return token, nil
}

// sharedToken gives the token that all replicas of a store have: that of the
// first one. A replica's own file is made to hold it.
func sharedToken(ctx context.Context, st store.Store, file, own string) (string, error) {
	token, err := admin.LoadOrKeepToken(ctx, st, own)
	if err != nil || token == own {
		return token, err
	}
	if err := durable.Replace(file, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keeping the admin token: %w", err)
	}
	return token, nil
}

// stopTelemetry exports what is left, for a few seconds at most.
func stopTelemetry(t *telemetry.Telemetry) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := t.Stop(ctx); err != nil {
		return fmt.Errorf("stopping telemetry: %w", err)
	}
	return nil
}
