// Package health asks a server on the same machine whether it is well, with the
// settings that the server itself has. It is for images that hold nothing but the
// binary, and so nothing else that could ask.
package health

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/pflag"
)

// Timeout bounds one question. A control plane gives its store as long.
const Timeout = 5 * time.Second

// ErrUnwell is matched when the server answers that it is not well, or does not answer.
var ErrUnwell = errors.New("not well")

// What can be asked.
const (
	Ready = "ready" // /readyz: it can serve
	Live  = "live"  // /healthz: the process serves
)

// Flag is what the command line wants to be asked, "" for nothing.
type Flag struct{ what string }

// Bind registers --health-check.
func Bind(flags *pflag.FlagSet) *Flag {
	f := &Flag{}
	flags.Var(f, "health-check", "ask the one that runs with these settings whether it is ready, or with =live whether it lives, print one line, and end")
	flags.Lookup("health-check").NoOptDefVal = Ready
	return f
}

// Wanted tells whether the flag is given.
func (f *Flag) Wanted() bool { return f.what != "" }

// String is the flag's value.
func (f *Flag) String() string { return f.what }

// Type is the kind of the flag's value.
func (f *Flag) Type() string { return "string" }

// Set takes the flag's value.
func (f *Flag) Set(text string) error {
	if text != Ready && text != Live {
		return fmt.Errorf("it is %s or %s", Ready, Live)
	}
	f.what = text
	return nil
}

// Server is where the server listens, by its settings.
type Server struct {
	// Socket is the path of its Unix socket. It is asked where there is one.
	Socket string
	// Addr is its TCP address; one of all interfaces is asked on loopback.
	Addr string
	// TLS tells that Addr speaks TLS.
	TLS bool
}

// Ask asks the server and writes one line if it is well. The error says what it
// answered otherwise.
func (f *Flag) Ask(ctx context.Context, s Server, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	path := "/readyz"
	if f.what == Live {
		path = "/healthz"
	}
	network, addr, scheme, shown := "tcp", s.Addr, "http", s.Addr
	switch {
	case s.Socket != "":
		network, addr, shown = "unix", s.Socket, s.Socket
	case s.Addr == "":
		return fmt.Errorf("%w: it listens nowhere", ErrUnwell)
	case s.TLS:
		scheme = "https"
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
		// The certificate names what callers dial, which this is not. No secret is sent, and
		// whoever can listen there in the server's place can answer what it likes anyway.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost"+path, nil)
	if err != nil {
		return fmt.Errorf("asking %s at %s: %w", path, shown, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("asking %s at %s: %w: %w", path, shown, ErrUnwell, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		var why struct {
			Description string `json:"error_description"`
		}
		// What is not ours has no reason that can be read; its status says enough.
		_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&why)
		return fmt.Errorf("asking %s at %s: %w: %s %s", path, shown, ErrUnwell, resp.Status, why.Description)
	}
	_, err = fmt.Fprintf(out, "%s: %s\n", f.what, shown)
	return err
}
