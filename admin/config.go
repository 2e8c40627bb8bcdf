package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
	"github.com/caracalai/caracald/policy"
)

// Config is what the control plane needs. Zero durations and sizes take the
// defaults named with them.
type Config struct {
	// Store keeps everything; the caller opens and closes it. Required.
	Store store.Store
	// Keys sign bundles and pointers. Required; LoadOrCreateKeys makes them.
	Keys Keys
	// BundleStore is the object store that every bundle is published to, so that
	// daemons can fetch it there; nil where there is none. The caller closes it,
	// after Run has returned.
	BundleStore *distribution.Store
	// BootstrapToken is the secret of a built-in token with the admin role for
	// every zone; "" where there is none. At least 16 characters.
	BootstrapToken string
	// PointerTTL is how long a signed pointer is valid. Pointers are renewed
	// when half of it is over. Default 24 h, at least 2 s.
	PointerTTL time.Duration
	// HeartbeatTimeout is the age of a daemon's last report after which it
	// counts as unreachable. Default 60 s.
	HeartbeatTimeout time.Duration
	// LoadedShare is the share of a zone's reachable daemons that must have loaded an
	// activated version for the activation to be loaded, where the zone's settings say
	// nothing: above 0, at most 1. Default 1.
	LoadedShare float64
	// ForgetDaemonsAfter is how long a daemon that reports nothing is remembered; then it
	// is removed, with its receipts. Default 168 h, at least HeartbeatTimeout.
	ForgetDaemonsAfter time.Duration
	// MaintenanceInterval is the time between runs of retention, renewal of
	// pointers and removal of old idempotency keys. Default 1 min.
	MaintenanceInterval time.Duration
	// LeaseTTL bounds how long the work that one replica does for all is left
	// undone when that one is gone: another has taken it over after four thirds
	// of it. Default 15 s, at least 100 ms.
	LeaseTTL time.Duration
	// IdempotencyTTL is how long the answer to an Idempotency-Key is kept. Default 24 h.
	IdempotencyTTL time.Duration
	// MaxWatchers bounds the long polls and audit tails open at once. Default 20,000.
	MaxWatchers int
	// FetchRate is how many bundles this control plane should be asked for in a
	// second. Where so many watchers wait for a zone that they would ask for more,
	// they are told over what time to spread. Default 4,000.
	FetchRate int
	// Limits bound each evaluation of a simulation. Default policy.DefaultLimits.
	Limits policy.Limits
	// Metrics answers GET /metrics; nil means 404.
	Metrics http.Handler
	// Logger takes the log; nil discards it.
	Logger *slog.Logger
	// MeterProvider and TracerProvider default to OpenTelemetry's global ones.
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider
	// Version is told in /openapi.json and the logs.
	Version string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Keys are the control plane's signing keys and the chain of trust roots that
// give them their roles.
type Keys struct {
	// Bundles signs bundles, Pointers signs pointers.
	Bundles, Pointers *bundle.PrivateKey
	// Roots are all versions of the trust root, oldest first; the last one
	// must give both keys their roles.
	Roots []json.RawMessage
	// stored are the roots as the store keeps them, where these are its keys. They
	// are then read anew once RotateKeys has changed them.
	stored []byte
}

// prepare checks the configuration and fills the defaults in. An error names
// the field.
func (c *Config) prepare() error {
	if c.Store == nil {
		return errors.New("the field Store is required")
	}
	if n := len(c.BootstrapToken); n > 0 && n < 16 {
		return errors.New("BootstrapToken: has fewer than 16 characters")
	}
	for _, d := range []struct {
		name     string
		value    *time.Duration
		byItself time.Duration
		least    time.Duration
	}{
		{"PointerTTL", &c.PointerTTL, 24 * time.Hour, 2 * time.Second},
		{"HeartbeatTimeout", &c.HeartbeatTimeout, time.Minute, time.Second},
		{"ForgetDaemonsAfter", &c.ForgetDaemonsAfter, 7 * 24 * time.Hour, c.HeartbeatTimeout},
		{"MaintenanceInterval", &c.MaintenanceInterval, time.Minute, 10 * time.Millisecond},
		{"LeaseTTL", &c.LeaseTTL, 15 * time.Second, 100 * time.Millisecond},
		{"IdempotencyTTL", &c.IdempotencyTTL, 24 * time.Hour, time.Minute},
	} {
		if *d.value == 0 {
			*d.value = d.byItself
		}
		if *d.value < d.least {
			return fmt.Errorf("%s: is %v; the least is %v", d.name, *d.value, d.least)
		}
	}
	if c.LoadedShare == 0 {
		c.LoadedShare = 1
	}
	if !(c.LoadedShare > 0 && c.LoadedShare <= 1) {
		return fmt.Errorf("LoadedShare: is %g; it must be above 0 and at most 1", c.LoadedShare)
	}
	if c.MaxWatchers < 0 {
		return errors.New("MaxWatchers: is negative")
	}
	if c.MaxWatchers == 0 {
		c.MaxWatchers = 20000
	}
	if c.FetchRate < 0 {
		return errors.New("FetchRate: is negative")
	}
	if c.FetchRate == 0 {
		c.FetchRate = 4000
	}
	if c.Limits == (policy.Limits{}) {
		c.Limits = policy.DefaultLimits
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}
