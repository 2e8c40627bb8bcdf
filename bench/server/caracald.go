package server

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/telemetry"
)

// Daemon configures the role caracald.
type Daemon struct {
	// Admin is the control plane's host and port, Token and Trust what it gave.
	Admin string          `json:"admin"`
	Token string          `json:"token"`
	Trust json.RawMessage `json:"trust"`
	// Zones are the zones to serve.
	Zones []string `json:"zones"`
	// Dir keeps its state and its spool.
	Dir string `json:"dir"`
	// Fsync makes a record durable on the disk before its decision is answered,
	// as is the default; otherwise it is with the operating system.
	Fsync bool `json:"fsync"`
	// Unaudited answers without any record, as no setting of the daemon's command allows:
	// what audit takes is measured against it.
	Unaudited bool `json:"unaudited"`
	// Cache bounds the decision cache in bytes; 0 is none.
	Cache int64 `json:"cache"`
	// Socket is the path of a Unix socket on which it is reached too, "" for none.
	Socket string `json:"socket"`
}

// caracald is the daemon, put together as its command does it.
func caracald(ctx context.Context, config json.RawMessage, ready func(Ready) error) (err error) {
	cfg, err := read[Daemon](config)
	if err != nil {
		return err
	}
	observed, err := telemetry.Start(ctx, "caracald", "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, observed.Stop(context.WithoutCancel(ctx))) }()
	c := daemon.Config{
		AdminURLs: []string{"http://" + cfg.Admin}, Token: cfg.Token, TrustRoot: cfg.Trust, Zones: cfg.Zones, StateDir: cfg.Dir,
		DecideAddr: "127.0.0.1:0", DecideSocket: cfg.Socket, CacheBytes: cfg.Cache, SpoolDurability: audit.SyncNone, Unaudited: cfg.Unaudited,
		Metrics: observed.Metrics, MeterProvider: observed.Meters, TracerProvider: observed.Tracers, Name: "bench", Version: "bench",
		DrainTimeout: 200 * time.Millisecond, // of no use after the measurement
	}
	if cfg.Fsync {
		c.SpoolDurability = audit.SyncGroup
	}
	d, err := daemon.New(c)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-d.Ready():
	}
	if err := ready(Ready{Addr: d.Addr().String(), Socket: d.SocketPath()}); err != nil {
		stop()
		return errors.Join(err, <-ended)
	}
	return <-ended
}
