// Command sts is a security token service that exchanges tokens (RFC 8693) and
// asks a caracald daemon before it mints one. It is small enough to read whole:
//
//	form.go       what a client asks, and which of it is wrong
//	subject.go    whose token it is: verifying what the client presents
//	question.go   the decision's input, made of both
//	server.go     asking, and what follows from the answer
//	mint.go       the token
//	problem.go    refusals, in OAuth's words
//	catalogue.go  the resources that tokens are for
//
// It mints for whoever presents tokens that verify; who may present them (client
// authentication) is left out, and would be a check at the top of the handler.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/caracalai/caracald/daemon/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "sts:", err)
		os.Exit(1)
	}
}

// setting is an environment variable, or what stands for it where it is not set.
func setting(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("sts", flag.ContinueOnError)
	flags.SetOutput(out)
	listen := flags.String("listen", "127.0.0.1:8080", "address to serve at")
	issuer := flags.String("issuer", "", "issuer of the tokens, and the audience that subject tokens must have (default http://LISTEN)")
	decideURL := flags.String("decide-url", setting("CARACAL_DECIDE_URL", client.DefaultAddr), "the daemon: http://HOST:PORT or unix:///PATH [$CARACAL_DECIDE_URL]")
	socket := flags.String("decide-socket", "", "path of the daemon's Unix socket, in place of --decide-url")
	timeout := flags.Duration("decide-timeout", 500*time.Millisecond, "how long the daemon may take")
	zone := flags.String("zone", os.Getenv("CARACAL_ZONE_ID"), "the zone whose policies decide [$CARACAL_ZONE_ID]")
	subjectIssuer := flags.String("subject-issuer", "https://idp.example", "issuer of subject and actor tokens")
	subjectKeys := flags.String("subject-jwks", "", "file with that issuer's public keys, a JWK set")
	resources := flags.String("resources", "", "file with the resources that tokens are for (default: those of the payments example)")
	key := flags.String("key", "", "file with the PEM of an EC P-256 private key to sign with (default: a new one)")
	lifetime := flags.Duration("lifetime", 5*time.Minute, "how long a token is valid, at most")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *zone == "" || *subjectKeys == "" {
		return errors.New("--zone (or CARACAL_ZONE_ID) and --subject-jwks are required")
	}
	if *issuer == "" {
		*issuer = "http://" + *listen
	}
	if *socket != "" {
		*decideURL = "unix://" + *socket
	}
	trusted, err := loadTrust(*subjectIssuer, *issuer, *subjectKeys)
	if err != nil {
		return err
	}
	offered, err := loadCatalogue(*resources)
	if err != nil {
		return err
	}
	signer, err := loadSigner(*issuer, *key, *lifetime)
	if err != nil {
		return err
	}
	daemon, err := client.New(client.Config{
		Addr: *decideURL, Token: os.Getenv("CARACAL_DECIDE_TOKEN"), Timeout: *timeout,
		Inject: func(ctx context.Context, h client.Headers) { propagation.TraceContext{}.Inject(ctx, h) },
	})
	if err != nil {
		return err
	}
	defer func() { _ = daemon.Close() }() // nothing is under way any more
	s := &server{daemon: daemon, zone: *zone, trusted: trusted, offered: offered, signer: signer, now: time.Now, log: slog.New(slog.NewTextHandler(out, nil))}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	return s.serve(ctx, l)
}

// serve answers on a listener until ctx ends.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		stopped <- h.Shutdown(end)
	}()
	s.log.Info("tokens are exchanged", "at", "http://"+l.Addr().String()+"/token", "zone", s.zone)
	if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
