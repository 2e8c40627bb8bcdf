package daemon

import (
	"crypto/tls"
	"encoding/json"
	"errors"
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

	// DecideAddr is the TCP address of the decision API, "" for none. An
	// address that is not loopback needs DecideTokens.
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
	// SpoolMaxBytes bounds the records not yet shipped. Default audit.DefaultMaxBytes.
	SpoolMaxBytes int64
	// Lost is LostGrace by default; Grace is 24 h by default.
	Lost  LostMode
	Grace time.Duration

	// MaxInputBytes bounds one input. Default 1 MiB.
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

	// Name, Version and Labels describe the daemon to the admin side. Name is
	// the host's name by default.
	Name    string
	Version string
	Labels  map[string]string

	// WatchWait is how long one long poll stays open, in whole seconds. Default 30 s, at most 60 s.
	WatchWait time.Duration
	// Heartbeat is the time between receipts when nothing changes. Default 15 s.
	Heartbeat time.Duration
	// RetryMin and RetryMax bound the pauses after failures. Defaults 100 ms and 15 s.
	RetryMin, RetryMax time.Duration
	// DrainTimeout bounds how long a stop waits for audit to be shipped. Default 5 s.
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

var (
	idPattern   = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)
	hashPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// prepare checks the configuration and fills the defaults in. An error names
// the field.
func (c *Config) prepare() error {
	if len(c.AdminURLs) == 0 {
		return errors.New("AdminURLs: at least one is required")
	}
	for _, text := range c.AdminURLs {
		u, err := url.Parse(text)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return fmt.Errorf("AdminURLs: %q is no http or https URL", text)
		}
	}
	if c.Token == "" && (c.AdminTLS == nil || len(c.AdminTLS.Certificates) == 0) {
		return errors.New("Token: is required where there is no client certificate")
	}
	for _, id := range c.Zones {
		if !idPattern.MatchString(id) {
			return fmt.Errorf("Zones: %q is no zone id", id)
		}
	}
	if len(c.TrustRoot) == 0 && c.TrustRootSHA256 == "" {
		return errors.New("TrustRoot: it or TrustRootSHA256 is required")
	}
	if c.TrustRootSHA256 != "" && !hashPattern.MatchString(c.TrustRootSHA256) {
		return errors.New("TrustRootSHA256: must be 64 lower-case hexadecimal digits")
	}
	if c.StateDir == "" {
		return errors.New("StateDir: is required")
	}
	if c.DecideAddr == "" && c.DecideSocket == "" {
		return errors.New("DecideAddr: it or DecideSocket is required")
	}
	if c.DecideAddr != "" && len(c.DecideTokens) == 0 && !loopback(c.DecideAddr) {
		return fmt.Errorf("DecideAddr: %s is not a loopback address; set DecideTokens to listen there", c.DecideAddr)
	}
	for _, t := range c.DecideTokens {
		if len(t) < 16 {
			return errors.New("DecideTokens: a token has fewer than 16 characters")
		}
	}
	switch c.AuditMode {
	case "":
		c.AuditMode = AuditRefuse
	case AuditRefuse, AuditCount:
	default:
		return fmt.Errorf("AuditMode: %q is not %s or %s", c.AuditMode, AuditRefuse, AuditCount)
	}
	switch c.Lost {
	case "":
		c.Lost = LostGrace
	case LostGrace, LostDeny:
	default:
		return fmt.Errorf("Lost: %q is not %s or %s", c.Lost, LostGrace, LostDeny)
	}
	for _, d := range []struct {
		name     string
		value    *time.Duration
		byItself time.Duration
		least    time.Duration
	}{
		{"Grace", &c.Grace, 24 * time.Hour, 0},
		{"WatchWait", &c.WatchWait, 30 * time.Second, time.Second},
		{"Heartbeat", &c.Heartbeat, 15 * time.Second, 10 * time.Millisecond},
		{"RetryMin", &c.RetryMin, 100 * time.Millisecond, time.Millisecond},
		{"RetryMax", &c.RetryMax, 15 * time.Second, time.Millisecond},
		{"DrainTimeout", &c.DrainTimeout, 5 * time.Second, 0},
	} {
		if *d.value == 0 {
			*d.value = d.byItself
		}
		if *d.value < d.least {
			return fmt.Errorf("%s: is %v; the least is %v", d.name, *d.value, d.least)
		}
	}
	if c.WatchWait > time.Minute {
		return fmt.Errorf("WatchWait: is %v; the most is 1m", c.WatchWait)
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
			return fmt.Errorf("%s: is negative", n.name)
		}
	}
	if c.CacheBytes < 0 || c.SpoolMaxBytes < 0 {
		return errors.New("CacheBytes, SpoolMaxBytes: must not be negative")
	}
	if c.Limits == (policy.Limits{}) {
		c.Limits = policy.DefaultLimits
	}
	if c.Name == "" {
		c.Name, _ = os.Hostname() // a daemon without a name still works
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
