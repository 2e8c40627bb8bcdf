package audit_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/caracalai/caracald/audit"
)

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, audit.SpoolOptions{Dir: dir})
	if _, err := audit.OpenSpool(audit.SpoolOptions{Dir: dir}); !errors.Is(err, audit.ErrLocked) {
		t.Errorf("a second spool in this process: %v, want ErrLocked", err)
	}
	closeSpool(t, s)

	// Another process has it, and dies without a word.
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "AUDIT_TEST_CHILD=hold", "AUDIT_TEST_DIR="+dir)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	if _, err := audit.OpenSpool(audit.SpoolOptions{Dir: dir}); !errors.Is(err, audit.ErrLocked) {
		t.Errorf("while another process has it: %v, want ErrLocked", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	_ = in.Close()
	openSpool(t, audit.SpoolOptions{Dir: dir})
}

// holdSpool is the other process of TestLocked.
func holdSpool(dir string) int {
	if _, err := audit.OpenSpool(audit.SpoolOptions{Dir: dir}); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
	return 0
}
