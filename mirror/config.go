package mirror

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
)

// Config is what a mirror needs. Zero values take the defaults named with them.
type Config struct {
	// AdminURLs are the addresses of the control plane, or of another mirror;
	// one that fails is followed by the next. Required.
	AdminURLs []string
	// Token has the role daemon for every zone that daemons here are to have.
	// Required, unless AdminTLS has a client certificate.
	Token string
	// AdminTLS is used for https URLs; nil trusts the system's authorities.
	AdminTLS *tls.Config
	// Zones are the ids of the zones to relay; empty relays every zone that the
	// token reaches.
	Zones []string
	// TrustRoot is the trust root that everything is verified by. Either it or
	// TrustRootSHA256 is required.
	TrustRoot json.RawMessage
	// TrustRootSHA256 (64 hexadecimal digits) is the hash of the trust root to
	// accept from the control plane on the first start.
	TrustRootSHA256 string
	// StateDir keeps pointers, bundles, trust roots and grants. One mirror has
	// it at a time. Required.
	StateDir string

	// BundleSources are tried in order for each bundle, before the control plane.
	// The mirror closes them.
	BundleSources []distribution.Source
	// BundleTimeout is how long a source may take where there is another to try.
	// A pointer waits that long for each source to give its bundle, before daemons
	// are told of it all the same. Default distribution.DefaultTimeout, 10 s.
	BundleTimeout time.Duration
	// CacheBytes bounds the bundles on disk. Default 1 GiB.
	CacheBytes int64

	// GrantTTL is how long a token that the control plane accepted is accepted
	// while it cannot be asked. Default 24 h.
	GrantTTL time.Duration
	// GrantRecheck is how long it is accepted without asking while it can be:
	// how late a revocation is noticed. Default 1 min.
	GrantRecheck time.Duration

	// MaxWatchers bounds the long polls of daemons open at once. Default 20,000.
	MaxWatchers int
	// WatchWait is how long the mirror's own long poll stays open, in whole
	// seconds. Default 30 s, at most 60 s.
	WatchWait time.Duration
	// RetryMin and RetryMax bound the pauses after failures. Defaults 100 ms and 15 s.
	RetryMin, RetryMax time.Duration

	// Metrics answers GET /metrics; nil is 404.
	Metrics http.Handler
	// Logger takes the log; nil discards it.
	Logger *slog.Logger
	// MeterProvider and TracerProvider default to OpenTelemetry's global ones.
	MeterProvider  metric.MeterProvider
	TracerProvider trace.TracerProvider
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

var hashPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// wrong is an error about a field.
func wrong(field, format string, args ...any) error {
	return fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...))
}

// prepare checks the configuration and fills the defaults in. An error names
// the field.
func (c *Config) prepare() error {
	if len(c.AdminURLs) == 0 {
		return wrong("AdminURLs", "at least one is required")
	}
	for _, text := range c.AdminURLs {
		u, err := url.Parse(text)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return wrong("AdminURLs", "%q is no http or https URL", text)
		}
	}
	switch {
	case c.Token == "" && (c.AdminTLS == nil || len(c.AdminTLS.Certificates) == 0):
		return wrong("Token", "is required where there is no client certificate")
	case len(c.TrustRoot) == 0 && !hashPattern.MatchString(c.TrustRootSHA256):
		return wrong("TrustRoot", "it, or TrustRootSHA256 with 64 lower-case hexadecimal digits, is required")
	case c.StateDir == "":
		return wrong("StateDir", "is required")
	case c.CacheBytes < 0:
		return wrong("CacheBytes", "is negative")
	case c.MaxWatchers < 0:
		return wrong("MaxWatchers", "is negative")
	}
	for _, id := range c.Zones {
		if !bundle.ValidID(id) {
			return wrong("Zones", "%q is no zone id", id)
		}
	}
	for _, d := range []struct {
		name        string
		value       *time.Duration
		byItself    time.Duration
		least, most time.Duration
	}{
		{"BundleTimeout", &c.BundleTimeout, distribution.DefaultTimeout, time.Millisecond, time.Hour},
		{"GrantTTL", &c.GrantTTL, 24 * time.Hour, time.Millisecond, 366 * 24 * time.Hour},
		{"GrantRecheck", &c.GrantRecheck, time.Minute, time.Millisecond, time.Hour},
		{"WatchWait", &c.WatchWait, 30 * time.Second, time.Second, time.Minute},
		{"RetryMin", &c.RetryMin, 100 * time.Millisecond, time.Millisecond, time.Hour},
		{"RetryMax", &c.RetryMax, 15 * time.Second, time.Millisecond, time.Hour},
	} {
		if *d.value == 0 {
			*d.value = d.byItself
		}
		if *d.value < d.least || *d.value > d.most {
			return wrong(d.name, "is %v; it must be %v to %v", *d.value, d.least, d.most)
		}
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 1 << 30
	}
	if c.MaxWatchers == 0 {
		c.MaxWatchers = 20000
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
