package pinning

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const allowedList = "Cpus_allowed_list:"

// TestMain lets the test binary tell which processors it has.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "processors" {
		data, err := os.ReadFile("/proc/self/status")
		if err != nil {
			panic(err)
		}
		fmt.Println(runtime.NumCPU(), runtime.GOMAXPROCS(0), allowed(data))
		return
	}
	os.Exit(m.Run())
}

func allowed(status []byte) string {
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte(allowedList)); ok {
			return string(bytes.TrimSpace(rest))
		}
	}
	return ""
}

// last is one processor that this process may use.
func last(t *testing.T) int {
	t.Helper()
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		t.Fatal(err)
	}
	all := members(&may)
	if len(all) != may.Count() || len(all) == 0 {
		t.Fatalf("%d processors, %d are counted", len(all), may.Count())
	}
	return all[len(all)-1]
}

// threads are how many threads of this process may use which processors.
func threads(t *testing.T) map[string]int {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	lists := map[string]int{}
	for _, file := range files {
		if status, err := os.ReadFile(file); err == nil { // else it has ended
			lists[allowed(status)]++
		}
	}
	return lists
}

// A server has the processors that it was given, from its beginning, and who
// starts it keeps all.
func TestStart(t *testing.T) {
	n := last(t)
	before := threads(t)
	var out bytes.Buffer
	cmd := exec.Command(os.Args[0], "processors")
	cmd.Stdout = &out
	if err := Start(cmd, []int{n}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(out.String()), fmt.Sprintf("1 1 %d", n); got != want {
		t.Errorf("the child has %q, want %q", got, want)
	}
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	if now := allowed(status); before[now] == 0 {
		t.Errorf("this process is left with %s, and had %v", now, before)
	}
	if err := Start(exec.Command(os.Args[0], "processors"), []int{len(unix.CPUSet{})*strconv.IntSize - 1}); err == nil {
		t.Error("a child started on a processor that is not there")
	}
}

// All threads of this process move, those too that are made afterwards, and
// move back.
func TestStay(t *testing.T) {
	one := strconv.Itoa(last(t))
	before, atOnce := threads(t), runtime.GOMAXPROCS(0)
	release, err := Stay([]int{last(t)})
	if err != nil {
		t.Fatal(err)
	}
	made, done := make(chan string), make(chan struct{})
	for range 3 {
		go func() {
			runtime.LockOSThread() // so that there has to be another for each
			status, _ := os.ReadFile("/proc/thread-self/status")
			made <- allowed(status)
			<-done
		}()
	}
	for range 3 {
		if got := <-made; got != one {
			t.Errorf("a new thread may use %q, want %s", got, one)
		}
	}
	if now := threads(t); len(now) != 1 || now[one] == 0 {
		t.Errorf("the threads may use %v, want %s", now, one)
	}
	if n := runtime.GOMAXPROCS(0); n != 1 {
		t.Errorf("%d at once on one processor", n)
	}
	close(done)
	if err := release(); err != nil {
		t.Fatal(err)
	}
	for list := range threads(t) {
		if before[list] == 0 {
			t.Errorf("a thread is left with %s, before there were %v", list, before)
		}
	}
	if n := runtime.GOMAXPROCS(0); n != atOnce {
		t.Errorf("%d at once, %d before", n, atOnce)
	}
}
