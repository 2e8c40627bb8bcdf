// Package server runs those that are asked over HTTP, each as a process of its
// own: the benchmark starts itself again, in the role of one server. A server
// ends when its standard input does, so none outlives the benchmark.
package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/caracalai/caracald/bench/pinning"
)

// Process is a running server.
type Process struct {
	// Name is the role's.
	Name string
	// Ready is what the server said of itself when it was ready.
	Ready Ready

	cmd  *exec.Cmd
	said *said
	in   io.WriteCloser
	out  *json.Decoder
}

// Ready is how a server is reached.
type Ready struct {
	// Addr is its host and port.
	Addr string `json:"addr"`
	// Socket is the path of its Unix socket, "" where it has none.
	Socket string `json:"socket,omitempty"`
	// TLSAddr is where it speaks TLS, "" where it does not.
	TLSAddr string `json:"tls_addr,omitempty"`
	// Token is the token of a control plane's administrator.
	Token string `json:"token,omitempty"`
	// Trust is the trust root of a control plane.
	Trust json.RawMessage `json:"trust,omitempty"`

	// pid is the process that serves where that is another program, else 0.
	pid int
}

// Stats are what a server used so far.
type Stats struct {
	// Mallocs counts its allocations, and is 0 where the server is another program.
	Mallocs uint64 `json:"mallocs"`
	// Processor is the processor time it used.
	Processor time.Duration `json:"processor"`
	// Resident is the memory it holds now, Peak the most it held, in bytes.
	Resident int64 `json:"resident"`
	Peak     int64 `json:"peak"`
	// Heap and Stacks are the parts of it that Go's objects and stacks take; 0
	// where the server is another program.
	Heap   int64 `json:"heap"`
	Stacks int64 `json:"stacks"`
}

// Start starts a server on some processors, of which none means any, and waits
// until it is ready.
func Start(ctx context.Context, role string, config any, on []int) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "serve", role)
	said := &said{}
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	// It is let end, as it may have to end another program.
	cmd.Cancel = in.Close
	cmd.WaitDelay = 5 * time.Second
	if err := pinning.Start(cmd, on); err != nil {
		return nil, err
	}
	p := &Process{Name: role, cmd: cmd, said: said, in: in, out: json.NewDecoder(bufio.NewReader(out))}
	err = json.NewEncoder(in).Encode(config)
	if err == nil {
		err = p.out.Decode(&p.Ready)
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", role, joined(err, p.Stop()))
	}
	return p, nil
}

func joined(err, also error) error {
	if also != nil {
		return fmt.Errorf("%w (%w)", err, also)
	}
	return err
}

// Orders that a server takes.
const (
	orderStats   = "stats"
	orderCollect = "collect"
)

// Stats asks the server what it used.
func (p *Process) Stats() (Stats, error) { return p.order(orderStats) }

// Collect makes the server collect its garbage and give free memory back to the
// system, and tells what it uses then.
func (p *Process) Collect() (Stats, error) { return p.order(orderCollect) }

func (p *Process) order(order string) (Stats, error) {
	var s Stats
	if err := json.NewEncoder(p.in).Encode(order); err != nil {
		return s, fmt.Errorf("asking %s: %w", p.Name, err)
	}
	if err := p.out.Decode(&s); err != nil {
		return s, fmt.Errorf("asking %s: %w", p.Name, err)
	}
	return s, nil
}

// Stop ends the server and waits for that.
func (p *Process) Stop() error {
	_ = p.in.Close()
	late := time.AfterFunc(15*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s ended: %w\n%s", p.Name, err, p.said)
	}
	return nil
}

// Kill ends the server as a power cut would.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("killing %s: %w", p.Name, err)
	}
	_ = p.cmd.Wait() // it was killed
	return nil
}

// said keeps the end of what a server wrote to its standard error, which is told
// when it fails.
type said struct{ text []byte }

const saidBytes = 4096

func (s *said) Write(p []byte) (int, error) {
	s.text = append(s.text, p...)
	s.text = s.text[max(0, len(s.text)-saidBytes):]
	return len(p), nil
}

func (s *said) String() string { return strings.TrimSpace(string(s.text)) }
