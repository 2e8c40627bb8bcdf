//go:build !linux

package pinning

import "os/exec"

// Processors splits none: only Linux is known to keep processes on processors.
func Processors() (Split, error) { return Split{}, nil }

// Start starts a command.
func Start(cmd *exec.Cmd, _ []int) error { return cmd.Start() }

// Stay does nothing.
func Stay([]int) (release func() error, err error) { return func() error { return nil }, nil }
