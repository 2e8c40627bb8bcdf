// Package natstest runs real NATS servers for tests, each in a process of its
// own, so that one can be killed the way a power cut does.
package natstest

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// configEnv carries the configuration file of the server that a process is to be.
const configEnv = "CARACAL_NATSTEST_CONFIG"

// patience bounds how long a server may take to start.
const patience = 60 * time.Second

// Main makes the process a NATS server where that is what it was started for,
// and does not return then. TestMain of a package that uses natstest calls it first.
func Main() {
	config := os.Getenv(configEnv)
	if config == "" {
		return
	}
	if err := serve(config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve runs a server until standard input ends, which it does with the parent.
func serve(config string) error {
	o, err := server.ProcessConfigFile(config)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	o.NoSigs = true
	s, err := server.NewServer(o)
	if err != nil {
		return fmt.Errorf("making the server: %w", err)
	}
	s.ConfigureLogger()
	s.Start()
	_, _ = io.Copy(io.Discard, os.Stdin)
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// Server is a NATS server with JetStream that keeps its port and its files over
// restarts.
type Server struct {
	t       testing.TB
	config  string
	addr    string
	logFile string
	cmd     *exec.Cmd
	stdin   io.Closer
}

// Start starts a server. more is added to its configuration.
func Start(t testing.TB, more string) *Server {
	t.Helper()
	s := prepare(t, "single", more)
	s.Start()
	return s
}

// Cluster starts three servers that replicate between them.
func Cluster(t testing.TB) []*Server {
	t.Helper()
	var addrs []string
	for range 3 {
		addrs = append(addrs, freeAddr(t))
	}
	var all []*Server
	for i := range addrs {
		var routes []string
		for _, a := range addrs {
			routes = append(routes, fmt.Sprintf("%q", "nats-route://"+a))
		}
		s := prepare(t, fmt.Sprintf("node-%d", i), fmt.Sprintf("cluster { name: test, listen: %q, routes: [%s] }\n", addrs[i], strings.Join(routes, ", ")))
		all = append(all, s)
	}
	for _, s := range all {
		s.Start()
	}
	return all
}

// URLs lists the addresses of servers, as the settings take them.
func URLs(all []*Server) string {
	var urls []string
	for _, s := range all {
		urls = append(urls, s.URL())
	}
	return strings.Join(urls, ",")
}

func prepare(t testing.TB, name, more string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{t: t, addr: freeAddr(t), config: filepath.Join(dir, "nats.conf"), logFile: filepath.Join(dir, "nats.log")}
	config := fmt.Sprintf("server_name: %s\nlisten: %q\nlog_file: %q\njetstream { store_dir: %q, max_mem: 16MB, max_file: 1GB }\n%s", name, s.addr, s.logFile, filepath.Join(dir, "store"), more)
	if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// URL is where clients connect.
func (s *Server) URL() string { return "nats://" + s.addr }

// Start starts a server that was killed or stopped, and waits until it listens.
func (s *Server) Start() {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command(self)
	s.cmd.Env = append(os.Environ(), configEnv+"="+s.config)
	s.cmd.Stderr = os.Stderr
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	late := time.After(patience)
	for {
		if conn, err := net.Dial("tcp", s.addr); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-late:
			log, _ := os.ReadFile(s.logFile) // whatever there is
			s.t.Fatalf("the NATS server at %s does not start:\n%s", s.addr, log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Kill ends the server at once.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()
	_ = s.stdin.Close()
	s.cmd = nil
}

// Stop ends the server in order.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.stdin.Close()
	_ = s.cmd.Wait()
	s.cmd = nil
}
