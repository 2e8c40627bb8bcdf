package pinning

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Processors splits those that this process may use.
func Processors() (Split, error) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return Split{}, fmt.Errorf("asking which processors there are: %w", err)
	}
	var cores [][]int
	at := map[string]int{}
	for _, n := range members(&may) {
		core := siblings(n)
		i, ok := at[core]
		if !ok {
			i = len(cores)
			at[core], cores = i, append(cores, nil)
		}
		cores[i] = append(cores[i], n)
	}
	return split(cores), nil
}

// siblings names the core of a processor: two of one core slow each other down.
// Where the system does not tell, each processor has a core of its own.
func siblings(n int) string {
	data, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", n))
	if err != nil {
		return strconv.Itoa(n)
	}
	return string(data)
}

// Start starts a command on some processors, of which none means any. The command
// has them from its beginning, so that it counts no others.
func Start(cmd *exec.Cmd, processors []int) error {
	if len(processors) == 0 {
		return cmd.Start()
	}
	mask := maskOf(processors)
	started := make(chan error)
	go func() {
		// A child has the mask of the thread that starts it. This one ends with the
		// goroutine, so that nobody gets it with that mask.
		runtime.LockOSThread()
		if err := unix.SchedSetaffinity(0, &mask); err != nil {
			started <- fmt.Errorf("pinning to processors %s: %w", ranges(processors), err)
			return
		}
		started <- cmd.Start()
	}()
	return <-started
}

// Stay keeps this process on some processors, of which none means any, until
// release is called.
func Stay(processors []int) (release func() error, err error) {
	if len(processors) == 0 {
		return func() error { return nil }, nil
	}
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("asking which processors there are: %w", err)
	}
	atOnce := runtime.GOMAXPROCS(0)
	if err := move(maskOf(processors)); err != nil {
		return nil, errors.Join(err, move(before))
	}
	runtime.GOMAXPROCS(min(len(processors), atOnce))
	return func() error {
		runtime.GOMAXPROCS(atOnce)
		return move(before)
	}, nil
}

// move pins all threads of this process. One that was made meanwhile has the mask
// of the one that made it, so they are gone through until all have it.
func move(to unix.CPUSet) error {
	for moved := true; moved; {
		moved = false
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("pinning this process: %w", err)
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				continue
			}
			var now unix.CPUSet
			err = unix.SchedGetaffinity(id, &now)
			if err == nil && now != to {
				moved = true
				err = unix.SchedSetaffinity(id, &to)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) { // it may have ended
				return fmt.Errorf("pinning this process: %w", err)
			}
		}
	}
	return nil
}

func maskOf(processors []int) (mask unix.CPUSet) {
	for _, n := range processors {
		mask.Set(n)
	}
	return mask
}

// members are the processors of a mask, in order.
func members(mask *unix.CPUSet) []int {
	var all []int
	for n := range len(mask) * strconv.IntSize {
		if mask.IsSet(n) {
			all = append(all, n)
		}
	}
	return all
}
