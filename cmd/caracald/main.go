// Command caracald is the daemon beside each STS node: it follows the signed
// pointers of its zones and answers decisions on localhost.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/distribution"
	"github.com/caracalai/caracald/internal/health"
	"github.com/caracalai/caracald/policy"
	"github.com/caracalai/caracald/settings"
	"github.com/caracalai/caracald/telemetry"
)

// version is set when the binary is built.
var version = "dev"

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `caracald answers policy decisions on localhost from signed bundles.

Usage:
  caracald --admin-url URL --token-file FILE --trust-root FILE [flags]

Every setting is a flag, an environment variable (CARACALD_...) or a key of the
YAML file given by --config, in this order of precedence.

Flags:
`

func run(ctx context.Context, args []string, out, errs io.Writer) int {
	flags := pflag.NewFlagSet("caracald", pflag.ContinueOnError)
	flags.SetOutput(errs)
	loader := settings.Bind(flags, "CARACALD", settings.DefaultDaemon())
	printOnly := flags.Bool("print-config", false, "print the settings and where each is from, and end")
	check := health.Bind(flags)
	showVersion := flags.Bool("version", false, "print the version and end")
	flags.Usage = func() { _, _ = fmt.Fprint(errs, usage, flags.FlagUsages()) }
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return exitDone
	case err != nil:
		_, _ = fmt.Fprintln(errs, "caracald:", err)
		return exitUsage
	case flags.NArg() > 0:
		_, _ = fmt.Fprintln(errs, "caracald: takes no arguments, but has", flags.Args())
		return exitUsage
	case *showVersion:
		_, _ = fmt.Fprintln(out, "caracald", version)
		return exitDone
	}
	loaded, err := loader.Load()
	switch {
	case err != nil:
	case *printOnly:
		err = loaded.Print(out)
	case check.Wanted():
		set := loaded.Settings
		err = check.Ask(ctx, health.Server{Socket: set.DecideSocket, Addr: set.DecideAddr, TLS: set.TLSCert != ""}, out)
	default:
		err = serve(ctx, loaded, errs)
	}
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, settings.ErrInvalid):
		_, _ = fmt.Fprintln(errs, "caracald:", err)
		return exitUsage
	}
	_, _ = fmt.Fprintln(errs, "caracald:", err)
	return exitFailed
}

// serve runs a daemon until ctx ends.
func serve(ctx context.Context, loaded *settings.Loaded[settings.Daemon], errs io.Writer) (err error) {
	set := loaded.Settings
	log, err := telemetry.NewLogger(errs, set.LogLevel, set.LogFormat)
	if err != nil {
		return fmt.Errorf("%w: %w", settings.ErrInvalid, err)
	}
	observed, err := telemetry.Start(ctx, "caracald", version)
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err = errors.Join(err, observed.Stop(stop))
	}()
	cfg, err := config(loaded)
	if err != nil {
		return err
	}
	cfg.Logger, cfg.Metrics = log, observed.Metrics
	cfg.MeterProvider, cfg.TracerProvider = observed.Meters, observed.Tracers
	if cfg.BundleSources, err = sources(ctx, loaded); err != nil {
		return err
	}
	sink, err := openSink(ctx, loaded, log, observed)
	if err != nil {
		return err
	}
	if sink != nil {
		cfg.AuditSink = sink
		defer func() { err = errors.Join(err, sink.Close()) }()
	}
	d, err := daemon.New(cfg)
	var wrong *daemon.FieldError
	if errors.As(err, &wrong) {
		return loaded.Invalid(settingOf(wrong.Field), wrong.Err)
	}
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

// settingOf names the setting that a field of the daemon's configuration is from.
func settingOf(field string) string {
	switch field {
	case "AdminURLs":
		return "admin-url"
	case "Zones", "Labels", "DecideTokens":
		field = strings.TrimSuffix(field, "s")
	case "TrustRootSHA256":
		return "trust-root-sha256"
	case "Lost":
		return "admin-lost"
	case "Limits":
		return "eval-timeout"
	}
	var name []byte
	for i, c := range []byte(field) {
		if i > 0 && 'A' <= c && c <= 'Z' {
			name = append(name, '-')
		}
		name = append(name, c|0x20)
	}
	return string(name)
}

// sources opens the bundle sources; nil stands for the admin side.
func sources(ctx context.Context, loaded *settings.Loaded[settings.Daemon]) ([]distribution.Source, error) {
	var list []distribution.Source
	for _, text := range loaded.Settings.BundleSources {
		if text == "admin" {
			list = append(list, nil)
			continue
		}
		source, err := distribution.Open(ctx, text)
		if err != nil {
			return nil, loaded.Invalid("bundle-source", err)
		}
		list = append(list, source)
	}
	return list, nil
}

// config turns settings into what the daemon takes. Errors name the setting.
func config(loaded *settings.Loaded[settings.Daemon]) (daemon.Config, error) {
	set := loaded.Settings
	cfg := daemon.Config{
		AdminURLs: set.AdminURLs, Token: set.Token, Zones: set.Zones, BundleTimeout: set.BundleTimeout, TrustRootSHA256: set.TrustRootSHA256, StateDir: set.StateDir,
		DecideAddr: set.DecideAddr, DecideSocket: set.DecideSocket, DecideTokens: set.DecideTokens,
		AuditMode: daemon.AuditMode(set.AuditMode), SpoolMaxBytes: set.SpoolMaxBytes, Lost: daemon.LostMode(set.AdminLost), Grace: set.Grace, MaxSpread: set.MaxSpread, ShipInterval: set.ShipInterval,
		CacheBytes: set.CacheBytes, MaxInputBytes: set.MaxInputBytes, Limits: policy.Limits{Timeout: set.EvalTimeout, MaxMemory: set.EvalMemory},
		Name: set.Name, Labels: set.Labels, Version: version,
	}
	switch set.SpoolDurability {
	case "group":
		cfg.SpoolDurability = audit.SyncGroup
	case "each":
		cfg.SpoolDurability = audit.SyncEach
	case "none":
		cfg.SpoolDurability = audit.SyncNone
	default:
		return cfg, loaded.Invalid("spool-durability", fmt.Errorf("%q is not group, each or none", set.SpoolDurability))
	}
	if set.TokenFile != "" {
		data, err := os.ReadFile(set.TokenFile)
		if err != nil {
			return cfg, loaded.Invalid("token-file", err)
		}
		cfg.Token = strings.TrimSpace(string(data))
	}
	if set.TrustRoot != "" {
		root, err := os.ReadFile(set.TrustRoot)
		if err != nil {
			return cfg, loaded.Invalid("trust-root", err)
		}
		cfg.TrustRoot = root
	}
	if set.AdminCA != "" || set.ClientCert != "" {
		cfg.AdminTLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if set.AdminCA != "" {
		pem, err := os.ReadFile(set.AdminCA)
		if err != nil {
			return cfg, loaded.Invalid("admin-ca", err)
		}
		cfg.AdminTLS.RootCAs = x509.NewCertPool()
		if !cfg.AdminTLS.RootCAs.AppendCertsFromPEM(pem) {
			return cfg, loaded.Invalid("admin-ca", errors.New("has no certificate"))
		}
	}
	if set.ClientCert != "" {
		cert, err := tls.LoadX509KeyPair(set.ClientCert, set.ClientKey)
		if err != nil {
			return cfg, loaded.Invalid("client-cert", err)
		}
		cfg.AdminTLS.Certificates = []tls.Certificate{cert}
	}
	if set.TLSCert != "" {
		cert, err := tls.LoadX509KeyPair(set.TLSCert, set.TLSKey)
		if err != nil {
			return cfg, loaded.Invalid("tls-cert", err)
		}
		cfg.DecideTLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	}
	return cfg, nil
}
