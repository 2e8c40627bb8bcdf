package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/distribution"
	"github.com/caracalai/caracald/internal/health"
	"github.com/caracalai/caracald/mirror"
	"github.com/caracalai/caracald/settings"
	"github.com/caracalai/caracald/telemetry"
)

func newMirrorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mirror",
		Short: "Relay pointers and cache bundles near the daemons of a site",
		Long: `Answers the daemons of a site what they ask of a control plane: relays the signed
pointers, caches the bundles on disk, and passes receipts and audit on. It goes on
serving pointers and bundles while it is cut off from the control plane. Daemons
name it as their --admin-url.

Every setting is a flag, an environment variable (CARACAL_MIRROR_...) or a key of
the YAML file given by --config, in this order of precedence.`,
		Example: "  caracal mirror --admin-url https://admin.example:3000 --token-file token --trust-root root.json --mirror-addr 10.0.0.5:3100",
		Args:    noArgs,
	}
	loader := settings.Bind(cmd.Flags(), "CARACAL_MIRROR", settings.DefaultMirror())
	printOnly := cmd.Flags().Bool("print-config", false, "print the settings and where each is from, and end")
	check := health.Bind(cmd.Flags())
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
		return serveMirror(cmd.Context(), loaded, log)
	}
	return cmd
}

// serveMirror runs a mirror until ctx ends.
func serveMirror(ctx context.Context, loaded *settings.Loaded[settings.Mirror], log *slog.Logger) (err error) {
	set := loaded.Settings
	observed, err := telemetry.Start(ctx, "caracal-mirror", version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopTelemetry(observed)) }()
	cfg := mirror.Config{
		AdminURLs: set.AdminURLs, Token: set.Token, Zones: set.Zones, TrustRootSHA256: set.TrustRootSHA256, StateDir: set.StateDir,
		CacheBytes: set.CacheBytes, BundleTimeout: set.BundleTimeout, GrantTTL: set.GrantTTL, GrantRecheck: set.GrantRecheck, MaxWatchers: set.MaxWatchers,
		Metrics: observed.Metrics, Logger: log, MeterProvider: observed.Meters, TracerProvider: observed.Tracers,
	}
	if set.TokenFile != "" {
		data, err := os.ReadFile(set.TokenFile)
		if err != nil {
			return loaded.Invalid("token-file", err)
		}
		cfg.Token = strings.TrimSpace(string(data))
	}
	if set.TrustRoot != "" {
		if cfg.TrustRoot, err = os.ReadFile(set.TrustRoot); err != nil {
			return loaded.Invalid("trust-root", err)
		}
	}
	if cfg.AdminTLS, err = mirrorTLS(loaded); err != nil {
		return err
	}
	var secure *tls.Config
	if set.TLSCert != "" || set.TLSKey != "" {
		cert, err := tls.LoadX509KeyPair(set.TLSCert, set.TLSKey)
		if err != nil {
			return loaded.Invalid("tls-cert", err)
		}
		secure = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	for _, text := range set.BundleSources {
		source, err := distribution.Open(ctx, text)
		if err != nil {
			return loaded.Invalid("bundle-source", err)
		}
		cfg.BundleSources = append(cfg.BundleSources, source)
	}
	m, err := mirror.New(cfg)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", set.Addr)
	if err != nil {
		return errors.Join(loaded.Failed("mirror-addr", err), m.Close())
	}
	log.Info("the mirror serves daemons", "address", listener.Addr().String(), "state", set.StateDir)
	return serve(ctx, m, listener, secure)
}

// mirrorTLS is for the control plane's https URLs; nil trusts what the system does.
func mirrorTLS(loaded *settings.Loaded[settings.Mirror]) (*tls.Config, error) {
	set := loaded.Settings
	if set.AdminCA == "" && set.ClientCert == "" {
		return nil, nil
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if set.AdminCA != "" {
		pem, err := os.ReadFile(set.AdminCA)
		if err != nil {
			return nil, loaded.Invalid("admin-ca", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, loaded.Invalid("admin-ca", errors.New("has no certificate"))
		}
	}
	if set.ClientCert != "" {
		cert, err := tls.LoadX509KeyPair(set.ClientCert, set.ClientKey)
		if err != nil {
			return nil, loaded.Invalid("client-cert", err)
		}
		secure.Certificates = []tls.Certificate{cert}
	}
	return secure, nil
}
