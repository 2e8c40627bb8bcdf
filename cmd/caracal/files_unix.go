//go:build unix

package main

import (
	"log/slog"
	"math"
	"syscall"
)

// filesBeside is how many files a control plane has open beside watchers: its
// store's, and connections of calls that do not wait.
const filesBeside = 256

// openable is how many watchers can be held, of those that are wanted: each
// needs an open file. The limit of open files is raised to the most that the
// process may.
func openable(watchers int, log *slog.Logger) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		log.Warn("the limit of open files is not known", "error", err)
		return watchers
	}
	if limit.Cur < limit.Max {
		most := limit
		most.Cur = most.Max
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &most); err != nil { // some systems have a lower one than they say
			log.Debug("the limit of open files is not raised", "error", err)
		} else {
			limit = most
		}
	}
	files := int(min(uint64(limit.Cur), math.MaxInt32))
	if watchers <= files-filesBeside {
		return watchers
	}
	held := max(1, files-filesBeside)
	log.Warn("fewer watchers than max-watchers can be held: raise the limit of open files (LimitNOFILE= of systemd, ulimit -n)",
		"max_watchers", watchers, "held", held, "open_files", files, "needed", watchers+filesBeside)
	return held
}
