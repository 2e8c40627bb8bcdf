package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// role serves until ctx ends; config is the JSON that Start was given.
type role func(ctx context.Context, config json.RawMessage, ready func(Ready) error) error

// The roles that a process can have.
const (
	RoleCeiling  = "ceiling"
	RoleCaracald = "caracald"
	RoleEngine   = "engine"
	RoleNetHTTP  = "net-http"
	RoleOPA      = "opa"
	RoleCerbos   = "cerbos"
	RoleAdmin    = "admin"
)

var roles = map[string]role{
	RoleCeiling: ceiling, RoleCaracald: caracald, RoleEngine: engine, RoleNetHTTP: netHTTP, RoleOPA: opaServer, RoleCerbos: cerbosServer, RoleAdmin: adminServer,
}

// Command is the hidden command by which the benchmark starts itself as a server.
func Command() *cobra.Command {
	return &cobra.Command{
		Use: "serve ROLE", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, ok := roles[args[0]]
			if !ok {
				return fmt.Errorf("there is no server %q", args[0])
			}
			return serve(cmd.Context(), r, os.Stdin, os.Stdout)
		},
	}
}

// serve plays a role until in ends.
func serve(ctx context.Context, r role, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	var config json.RawMessage
	if err := orders.Decode(&config); err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- r(ctx, config, func(at Ready) error {
			if err := answers.Encode(at); err != nil {
				return err
			}
			go func() {
				defer stop()
				var order string
				for orders.Decode(&order) == nil {
					if order == orderCollect {
						runtime.GC() // what pools have is kept for one collection more
						debug.FreeOSMemory()
					}
					if answers.Encode(stats(at.pid)) != nil {
						return
					}
				}
			}()
			return nil
		})
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// stats are those of this process, or of the one with a process id.
func stats(pid int) Stats {
	var s Stats
	dir := "/proc/self"
	if pid == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		s = Stats{Mallocs: m.Mallocs, Resident: int64(m.Sys), Peak: int64(m.Sys), Heap: int64(m.HeapInuse), Stacks: int64(m.StackInuse)}
		var used syscall.Rusage
		if syscall.Getrusage(syscall.RUSAGE_SELF, &used) == nil {
			s.Processor = time.Duration(used.Utime.Nano() + used.Stime.Nano())
		}
	} else {
		dir = fmt.Sprintf("/proc/%d", pid)
		if data, err := os.ReadFile(dir + "/stat"); err == nil {
			s.Processor = processorTime(string(data))
		}
	}
	if data, err := os.ReadFile(dir + "/status"); err == nil {
		s.Resident, s.Peak = kilobytes(string(data), "VmRSS:"), kilobytes(string(data), "VmHWM:")
	}
	return s
}

// tick is the unit of processor time in /proc.
const tick = 10 * time.Millisecond

// processorTime is the time in user and system mode of a process's line in
// /proc, in which the name, in parentheses, may hold anything.
func processorTime(stat string) time.Duration {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick
}

// kilobytes is the value of a line "name 123 kB", in bytes.
func kilobytes(text, name string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}
