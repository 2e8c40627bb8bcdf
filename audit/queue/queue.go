// Package queue carries audit batches from daemons to control planes through a
// stream of NATS JetStream: Publisher is the daemon's sink, Consumer is what a
// control plane runs. docs/audit-sinks.md says how messages look and which
// rights each side needs.
//
// A message holds one batch, as POST /v1/audit/batches takes it. Its subject
// ends with the daemon's id, so that NATS's permissions say who may publish as
// whom, and the receiver checks the batch against it. The stream keeps the order
// of one subject, and a publisher waits for the answer to each message, so a
// daemon's batches lie in the stream in order; what is delivered out of order or
// twice is sorted out by the receiver, which knows daemon, epoch and offset.
package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
)

// Defaults of Config.
const (
	DefaultStream  = "CARACAL_AUDIT"
	DefaultSubject = "caracal.audit"
)

// headerAfter carries audit.Delivery.After, in decimal digits.
const headerAfter = "Caracal-After"

// Where answers go. What a control plane is sent is audit, so its inbox is one
// that daemons need no right to.
const (
	daemonInbox = "_INBOX_CARACAL_DAEMON"
	adminInbox  = "_INBOX_CARACAL_ADMIN"
)

const meterName = "github.com/caracalai/caracald/audit/queue"

// Config says where the stream is. Publisher and Consumer take the same.
type Config struct {
	// URLs of NATS servers, nats:// or tls://, tried in turn. Required.
	URLs []string
	// CredsFile is a credentials file (JWT and nkey seed), "" for none. It is
	// read anew for each connection.
	CredsFile string
	// CAFile is a PEM file of the authorities to trust, "" for the system's.
	// CertFile and KeyFile are the client's certificate, "" for none.
	CAFile, CertFile, KeyFile string
	// Stream is the stream's name. Default DefaultStream.
	Stream string
	// Subject is what subjects begin with; a dot and the daemon's id follow.
	// Default DefaultSubject.
	Subject string
	// Name is how the server lists the connection.
	Name string
	// Logger takes the log; nil discards it.
	Logger *slog.Logger
	// MeterProvider defaults to OpenTelemetry's global one.
	MeterProvider metric.MeterProvider
}

var (
	streamPattern  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	subjectPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	daemonPattern  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
)

// prepare checks the configuration and fills the defaults in. An error names
// the field.
func (c *Config) prepare() error {
	if len(c.URLs) == 0 {
		return errors.New("URLs: at least one is required")
	}
	if c.Stream == "" {
		c.Stream = DefaultStream
	}
	if c.Subject == "" {
		c.Subject = DefaultSubject
	}
	if !streamPattern.MatchString(c.Stream) {
		return fmt.Errorf("the field Stream: %q is not 1 to 64 letters, digits, _ or -", c.Stream)
	}
	if !subjectPattern.MatchString(c.Subject) {
		return fmt.Errorf("the field Subject: %q is no subject without wildcards", c.Subject)
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("CertFile: a certificate and its key need each other")
	}
	for _, file := range []struct{ field, name string }{{"CredsFile", c.CredsFile}, {"CAFile", c.CAFile}, {"CertFile", c.CertFile}, {"KeyFile", c.KeyFile}} {
		if file.name == "" {
			continue
		}
		if _, err := os.Stat(file.name); err != nil {
			return fmt.Errorf("%s: %w", file.field, err)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	return nil
}

// connect begins to connect, and goes on for as long as it takes, now and after
// each loss. Answers go to the inbox. asynchronous is given what a server refuses without an answer, such
// as a right that is missing.
func (c *Config) connect(inbox string, asynchronous func(error)) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name(c.Name),
		nats.CustomInboxPrefix(inbox),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		// Nothing is kept back for a server that is away: who publishes is to
		// know at once, and to keep it.
		nats.ReconnectBufSize(-1),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(func(nc *nats.Conn) { c.Logger.Info("connected to NATS", "server", nc.ConnectedUrlRedacted()) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { c.Logger.Info("connected to NATS again", "server", nc.ConnectedUrlRedacted()) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				c.Logger.Warn("the connection to NATS is lost", "error", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { c.Logger.Debug("NATS cannot be reached", "error", err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			c.Logger.Error("NATS refuses something", "error", err)
			asynchronous(err)
		}),
	}
	if c.CredsFile != "" {
		options = append(options, nats.UserCredentials(c.CredsFile))
	}
	if c.CAFile != "" {
		options = append(options, nats.RootCAs(c.CAFile))
	}
	if c.CertFile != "" {
		options = append(options, nats.ClientCert(c.CertFile, c.KeyFile))
	}
	nc, err := nats.Connect(strings.Join(c.URLs, ","), options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS: %w", err)
	}
	return nc, nil
}

// subject is where a daemon's batches go.
func (c *Config) subject(daemonID string) (string, error) {
	if !daemonPattern.MatchString(daemonID) {
		return "", fmt.Errorf("the daemon id %q cannot be part of a subject", daemonID)
	}
	return c.Subject + "." + daemonID, nil
}

// daemonOf is whose a subject is, "" where it is nobody's.
func (c *Config) daemonOf(subject string) string {
	id, ok := strings.CutPrefix(subject, c.Subject+".")
	if !ok || !daemonPattern.MatchString(id) {
		return ""
	}
	return id
}
