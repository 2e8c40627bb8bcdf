//go:build !unix

package main

import "log/slog"

// openable is how many watchers can be held, of those that are wanted.
func openable(watchers int, _ *slog.Logger) int { return watchers }
