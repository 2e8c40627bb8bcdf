//go:build !linux

package loader

import "time"

func sleep(d time.Duration) { time.Sleep(d) }
