//go:build !linux

package durable

import "os"

var ways = []way{os.Link, claim}
