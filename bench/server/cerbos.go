package server

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// CerbosModule is the module that Cerbos is built from.
const CerbosModule = "github.com/cerbos/cerbos"

const (
	cerbosHealth = "/_cerbos/health"
	// cerbosDelay is how long Cerbos may take to end when it is told to.
	cerbosDelay = 3 * time.Second
)

// Cerbos is what RoleCerbos is given.
type Cerbos struct {
	Policy
	// Binary is the path of the program cerbos.
	Binary string
}

// CerbosVersion is the version of Cerbos that a program was built from.
func CerbosVersion(binary string) (string, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return "", fmt.Errorf("reading the version of Cerbos: %w", err)
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == CerbosModule {
			return m.Version, nil
		}
	}
	return "", fmt.Errorf("%s was not built from %s", binary, CerbosModule)
}

// cerbosServer is cerbos server, as a process of its own with the workload's
// policy in files. Its engine cannot be had otherwise: it is internal to its module.
func cerbosServer(ctx context.Context, config json.RawMessage, ready func(Ready) error) error {
	cfg, err := read[Cerbos](config)
	if err != nil {
		return err
	}
	w, err := cfg.find()
	if err != nil {
		return err
	}
	if w.Cerbos == nil {
		return fmt.Errorf("workload %s has no policy for Cerbos", w.Name)
	}
	policies := filepath.Join(cfg.Dir, "policies")
	if err := os.CopyFS(policies, w.Cerbos); err != nil {
		return fmt.Errorf("writing policies for Cerbos: %w", err)
	}
	rest, err := freePort()
	if err != nil {
		return err
	}
	grpc, err := freePort()
	if err != nil {
		return err
	}
	file := filepath.Join(cfg.Dir, "cerbos.yaml")
	if err := writeCerbosConfig(file, policies, rest, grpc); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(running, cfg.Binary, "server", "--config", file, "--log-level", "error")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = cerbosDelay
	if err := cmd.Start(); err != nil {
		return err
	}
	ended, done := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- cmd.Wait()
		close(done)
	}()
	defer func() {
		stop()
		<-done // it does not outlive this process
	}()
	if err := healthy(ctx, "http://"+rest+cerbosHealth, ended); err != nil {
		return err
	}
	if err := ready(Ready{Addr: rest, pid: cmd.Process.Pid}); err != nil {
		return err
	}
	if err := <-ended; ctx.Err() == nil {
		return errors.Join(errors.New("cerbos ended"), err)
	}
	return nil
}

// writeCerbosConfig writes Cerbos's configuration: its defaults, without its
// telemetry; its audit is off where nothing is said of it. JSON is YAML too.
func writeCerbosConfig(file, policies, rest, grpc string) error {
	data, err := json.MarshalIndent(map[string]any{
		"server":    map[string]any{"httpListenAddr": rest, "grpcListenAddr": grpc},
		"storage":   map[string]any{"driver": "disk", "disk": map[string]any{"directory": policies, "watchForChanges": false}},
		"audit":     map[string]any{"enabled": false},
		"telemetry": map[string]any{"disabled": true},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

// freePort is an address on loopback for programs that do not tell which port
// they got.
func freePort() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
