package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/admin/store/sqlite"
)

// adminServer is the real control plane over an embedded store.
func adminServer(ctx context.Context, config json.RawMessage, ready func(Ready) error) (err error) {
	cfg, err := read[Policy](config)
	if err != nil {
		return err
	}
	st, err := sqlite.Open(ctx, cfg.Dir, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	keys, err := admin.LoadOrCreateKeys(ctx, st, time.Now())
	if err != nil {
		return err
	}
	const token = "bench-administrator-token"
	server, err := admin.New(ctx, admin.Config{Store: st, Keys: keys, BootstrapToken: token, Version: "bench"})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: server.Handler(), ReadHeaderTimeout: 10 * time.Second}
	var g errgroup.Group
	running, stop := context.WithCancel(ctx)
	defer stop()
	g.Go(func() error { return server.Run(running) })
	g.Go(func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	err = func() error {
		c, err := client.New("http://"+l.Addr().String(), token)
		if err != nil {
			return err
		}
		t, err := c.CreateToken(ctx, api.TokenCreate{Name: "bench", Roles: []string{api.RoleDaemon}})
		if err != nil {
			return fmt.Errorf("making the daemon's token: %w", err)
		}
		if err := ready(Ready{Addr: l.Addr().String(), Token: token, Daemon: t.Secret, Trust: keys.Roots[0]}); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}()
	stop()
	return errors.Join(err, s.Close(), g.Wait())
}
