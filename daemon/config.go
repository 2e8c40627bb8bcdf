package daemon

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
	"github.com/caracalai/caracald/policy"
)

// AuditMode says what happens to a decision whose record cannot be kept.
type AuditMode string

const (
	// AuditRefuse answers 503 and no decision.
	AuditRefuse AuditMode = "refuse"
	// AuditCount answers, counts the record as missing and records the gap
	// as soon as that can be done.
	AuditCount AuditMode = "count"
)

// LostMode says what happens when a pointer expires, because the admin side
// could not be reached to renew it.
type LostMode string

const (
	// LostGrace goes on serving for Config.Grace, and then denies.
	LostGrace LostMode = "grace"
	// LostDeny denies at once.
	LostDeny LostMode = "deny"
)

// Config is what a daemon needs. Zero values take the defaults named with them.
type Config struct {
	// AdminURLs are the admin side's addresses; one that fails is followed by
	// the next. Required.
	AdminURLs []string
	// Token has the role daemon. Required, unless AdminTLS has a client certificate.
	Token string
	// AdminTLS is used for https URLs; nil trusts the system's authorities.
	AdminTLS *tls.Config
	// BundleSources are tried in order for each bundle; nil stands for the admin
	// side among them, which is last where it is not listed. A source is trusted
	// with nothing. The daemon closes them.
	BundleSources []distribution.Source
	// BundleTimeout is how long a source may take where there is another to try.
	// Default distribution.DefaultTimeout, 10 s.
	BundleTimeout time.Duration
	// Zones are the ids of the zones to serve; empty serves every zone that the
	// token reaches.
	Zones []string
	// TrustRoot is the trust root that everything is verified by. Either it or
	// TrustRootSHA256 is required.
	TrustRoot json.RawMessage
	// TrustRootSHA256 (64 hexadecimal digits) is the hash of the trust root to
	// accept from the admin side on the first start.
	TrustRootSHA256 string
	// StateDir keeps what was verified, and the audit spool. One daemon has it
	// at a time. Required.
	StateDir string

	// DecideAddr is the TCP address of the decision API, host:port, "" for none;
	// by convention 127.0.0.1:8181. An address that is not loopback needs
	// authentication: DecideTokens, or a DecideTLS that requires and verifies
	// client certificates.
	DecideAddr string
	// DecideSocket is the path of its Unix socket, "" for none.
	DecideSocket string
	// DecideTokens are bearer tokens, one of which a TCP caller must have;
	// empty asks for none. The socket is guarded by the file system alone.
	DecideTokens []string
	// DecideTLS secures the TCP address; nil is plain HTTP.
	DecideTLS *tls.Config

	// AuditMode is AuditRefuse by default.
	AuditMode AuditMode
	// SpoolDurability is audit.SyncGroup by default.
	SpoolDurability audit.Durability
	// SpoolMaxBytes bounds the records not yet shipped. Default audit.DefaultMaxBytes, 1 GiB.
	SpoolMaxBytes int64
	// AuditSink takes the audit; nil is the admin side. The caller closes it
	// after Run.
	AuditSink audit.Sink
	// Unaudited answers decisions without a record, and counts nothing as missing. It
	// is there to measure what the audit takes; Run logs it as an error, and no setting
	// of the command reaches it.
	Unaudited bool
	// Lost is LostGrace by default.
	Lost LostMode
	// Grace is how long an expired pointer is served with LostGrace. Default 24 h.
	Grace time.Duration

	// MaxInputBytes bounds one input. Default 1 MiB, which is also the most.
	MaxInputBytes int
	// MaxBatchBytes bounds the body of a call with several inputs. Default 16 MiB.
	MaxBatchBytes int
	// MaxBatch bounds the inputs of such a call. Default 1,000.
	MaxBatch int
	// MaxConcurrent bounds the requests evaluated at once; more are refused
	// with 503. Default 1,024.
	MaxConcurrent int
	// Limits bound one evaluation. Default policy.DefaultLimits.
	Limits policy.Limits
	// CacheBytes bounds the decision cache; 0 turns it off.
	CacheBytes int64

	// Name, Version and Labels describe the daemon to the admin side, each text
	// in at most 256 bytes and at most 64 labels. Name is the host's name by default.
	Name    string
	Version string
	Labels  map[string]string

	// WatchWait is how long one long poll stays open, in whole seconds. Default 30 s, at most 60 s.
	WatchWait time.Duration
	// Heartbeat is the time between receipts when nothing changes. Default 15 s.
	Heartbeat time.Duration
	// MaxSpread bounds how long a bundle is waited with before it is fetched, where
	// the admin side says that many are told of it at once. Default 10 s, at least 1 ms.
	MaxSpread time.Duration
	// ShipInterval is the least time between batches of audit that are less than half
	// full. The first after a silence goes at once. Default 1 s, at least 1 ms.
	ShipInterval time.Duration
	// RetryMin and RetryMax bound the pauses after failures. Defaults 100 ms and 15 s.
	RetryMin, RetryMax time.Duration
	// DrainTimeout bounds how long a stop waits for requests under way, and then
	// for audit to be shipped. Default 5 s.
	DrainTimeout time.Duration

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

// Validate checks the configuration. An error is a *FieldError.
func (c Config) Validate() error { return c.prepare() }

// Bounds of what a daemon says of itself, as the admin side has them.
const (
	maxDescription = 256
	maxLabels      = 64
)

// leastSpool is the smallest spool of a daemon that refuses what it cannot keep.
const leastSpool = 64 << 10

// FieldError says what is wrong with a field of a configuration.
type FieldError struct {
	Field string
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

// wrong is an error about a field.
func wrong(field, format string, args ...any) error {
	return &FieldError{field, fmt.Errorf(format, args...)}
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
	if c.Token == "" && (c.AdminTLS == nil || len(c.AdminTLS.Certificates) == 0) {
		return wrong("Token", "is required where there is no client certificate")
	}
	for _, id := range c.Zones {
		if !bundle.ValidID(id) {
			return wrong("Zones", "%q is no zone id", id)
		}
	}
	if len(c.TrustRoot) == 0 && c.TrustRootSHA256 == "" {
		return wrong("TrustRoot", "is required where its SHA-256 is not given")
	}
	if c.TrustRootSHA256 != "" && !hashPattern.MatchString(c.TrustRootSHA256) {
		return wrong("TrustRootSHA256", "must be 64 lower-case hexadecimal digits")
	}
	if c.StateDir == "" {
		return wrong("StateDir", "is required")
	}
	if c.DecideAddr == "" && c.DecideSocket == "" {
		return wrong("DecideAddr", "is required where there is no socket")
	}
	if c.DecideAddr != "" {
		if _, _, err := net.SplitHostPort(c.DecideAddr); err != nil {
			return wrong("DecideAddr", "%w", err)
		}
		verified := c.DecideTLS != nil && c.DecideTLS.ClientAuth == tls.RequireAndVerifyClientCert
		if len(c.DecideTokens) == 0 && !verified && !loopback(c.DecideAddr) {
			return wrong("DecideAddr", "%s is not a loopback address; to listen there, set tokens or require client certificates", c.DecideAddr)
		}
	}
	for _, t := range c.DecideTokens {
		if len(t) < 16 {
			return wrong("DecideTokens", "a token has fewer than 16 characters")
		}
	}
	switch c.AuditMode {
	case "":
		c.AuditMode = AuditRefuse
	case AuditRefuse, AuditCount:
	default:
		return wrong("AuditMode", "%q is not %s or %s", c.AuditMode, AuditRefuse, AuditCount)
	}
	switch c.Lost {
	case "":
		c.Lost = LostGrace
	case LostGrace, LostDeny:
	default:
		return wrong("Lost", "%q is not %s or %s", c.Lost, LostGrace, LostDeny)
	}
	for _, d := range []struct {
		name     string
		value    *time.Duration
		byItself time.Duration
		least    time.Duration
	}{
		{"Grace", &c.Grace, 24 * time.Hour, 0},
		{"BundleTimeout", &c.BundleTimeout, distribution.DefaultTimeout, time.Millisecond},
		{"WatchWait", &c.WatchWait, 30 * time.Second, time.Second},
		{"Heartbeat", &c.Heartbeat, 15 * time.Second, 10 * time.Millisecond},
		{"MaxSpread", &c.MaxSpread, 10 * time.Second, time.Millisecond},
		{"ShipInterval", &c.ShipInterval, time.Second, time.Millisecond},
		{"RetryMin", &c.RetryMin, 100 * time.Millisecond, time.Millisecond},
		{"RetryMax", &c.RetryMax, 15 * time.Second, time.Millisecond},
		{"DrainTimeout", &c.DrainTimeout, 5 * time.Second, 0},
	} {
		if *d.value == 0 {
			*d.value = d.byItself
		}
		if *d.value < d.least {
			return wrong(d.name, "is %v; the least is %v", *d.value, d.least)
		}
	}
	if c.RetryMax < c.RetryMin {
		return wrong("RetryMax", "is %v, less than the least, %v", c.RetryMax, c.RetryMin)
	}
	if c.WatchWait > time.Minute {
		return wrong("WatchWait", "is %v; the most is 1m", c.WatchWait)
	}
	for _, n := range []struct {
		name     string
		value    *int
		byItself int
	}{
		{"MaxInputBytes", &c.MaxInputBytes, 1 << 20},
		{"MaxBatchBytes", &c.MaxBatchBytes, 16 << 20},
		{"MaxBatch", &c.MaxBatch, 1000},
		{"MaxConcurrent", &c.MaxConcurrent, 1024},
	} {
		if *n.value == 0 {
			*n.value = n.byItself
		}
		if *n.value < 0 {
			return wrong(n.name, "is negative")
		}
	}
	if c.MaxInputBytes > policy.MaxInputBytes {
		return wrong("MaxInputBytes", "is %d; the most is %d", c.MaxInputBytes, policy.MaxInputBytes)
	}
	if c.CacheBytes < 0 {
		return wrong("CacheBytes", "is negative")
	}
	switch {
	case c.SpoolMaxBytes < 0:
		return wrong("SpoolMaxBytes", "is negative")
	case c.SpoolMaxBytes != 0 && c.SpoolMaxBytes < leastSpool && c.AuditMode == AuditRefuse:
		return wrong("SpoolMaxBytes", "is %d, which would refuse every decision; the least is %d", c.SpoolMaxBytes, leastSpool)
	}
	if c.SpoolDurability < audit.SyncGroup || c.SpoolDurability > audit.SyncNone {
		return wrong("SpoolDurability", "%d is not known", c.SpoolDurability)
	}
	if c.Limits.Timeout < 0 || c.Limits.MaxMemory < 0 {
		return wrong("Limits", "is negative")
	}
	if c.Limits == (policy.Limits{}) {
		c.Limits = policy.DefaultLimits
	}
	if c.Name == "" {
		c.Name, _ = os.Hostname() // a daemon without a name still works
	}
	if len(c.Name) > maxDescription {
		return wrong("Name", "is longer than %d bytes", maxDescription)
	}
	if len(c.Version) > maxDescription {
		return wrong("Version", "is longer than %d bytes", maxDescription)
	}
	if len(c.Labels) > maxLabels {
		return wrong("Labels", "has more than %d labels", maxLabels)
	}
	for name, value := range c.Labels {
		if name == "" || len(name) > maxDescription || len(value) > maxDescription {
			return wrong("Labels", "%.64q is empty or longer than %d bytes", name, maxDescription)
		}
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

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
