package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/cmd"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/caracalai/caracald/bench/peer"
	"github.com/caracalai/caracald/bench/workload"
)

// opaServer is opa run --server, from OPA's own command, with the workload's
// policy in files. With several zones each has the policy in a package of its own.
func opaServer(ctx context.Context, config json.RawMessage, ready func(Ready) error) error {
	cfg, err := read[Policy](config)
	if err != nil {
		return err
	}
	if err := cfg.write(); err != nil {
		return err
	}
	// The command has no way to tell which port it got.
	addr, err := freePort()
	if err != nil {
		return err
	}
	cmd.RootCommand.SetArgs([]string{"run", "--server", "--addr", addr, "--log-level", "error", "--skip-version-check", cfg.Dir})
	cmd.RootCommand.SetOut(os.Stderr)
	ended := make(chan error, 1)
	go func() { ended <- cmd.RootCommand.ExecuteContext(ctx) }()
	if err := healthy(ctx, "http://"+addr+"/health", ended); err != nil {
		return err
	}
	if err := ready(Ready{Addr: addr}); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// write puts the policies into files. With zones each has a package of its own.
func (p Policy) write() error {
	file := func(name, content string) error {
		return os.WriteFile(filepath.Join(p.Dir, name+".rego"), []byte(content), 0o600)
	}
	for _, zone := range p.Zones {
		for _, m := range workload.Variant(zone.Label).Modules {
			if err := file(m.Name+zone.ID, strings.Replace(m.Content, "package caracal.authz", "package "+zonePackage(zone.ID)+".authz", 1)); err != nil {
				return err
			}
		}
	}
	if len(p.Zones) > 0 {
		return nil
	}
	w, err := p.find()
	if err != nil {
		return err
	}
	for _, m := range w.Modules {
		if err := file(m.Name, m.Content); err != nil {
			return err
		}
	}
	return nil
}

func zonePackage(zone string) string { return "zones.zone_" + strings.ReplaceAll(zone, "-", "_") }

// OPAPath is where a zone's result is in an OPA with several zones.
func OPAPath(zone string) string {
	return "/v1/data/" + strings.ReplaceAll(zonePackage(zone), ".", "/") + "/authz/result"
}

// healthy waits until a server answers at a URL that all is well.
func healthy(ctx context.Context, url string, ended <-chan error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return fmt.Errorf("the server ended: %w", err)
		case <-tick.C:
		}
		resp, err := http.Get(url)
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
}

// netHTTP is what a service does that embeds OPA: net/http and a prepared query.
func netHTTP(ctx context.Context, config json.RawMessage, ready func(Ready) error) error {
	cfg, err := read[Policy](config)
	if err != nil {
		return err
	}
	w, err := cfg.find()
	if err != nil {
		return err
	}
	q, err := peer.Prepare(ctx, w)
	if err != nil {
		return err
	}
	return standard(ctx, ready, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var input any
		if err := json.Unmarshal(body, &input); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		rs, err := q.Eval(r.Context(), rego.EvalInput(input))
		if err != nil || len(rs) != 1 {
			http.Error(rw, "no decision", http.StatusInternalServerError)
			return
		}
		data, err := json.Marshal(rs[0].Expressions[0].Value)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		_, _ = rw.Write(data)
	}), Ready{})
}

// standard serves with net/http until ctx ends.
func standard(ctx context.Context, ready func(Ready) error, handler http.Handler, at Ready) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	at.Addr = l.Addr().String()
	if err := ready(at); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return s.Close()
	}
}
