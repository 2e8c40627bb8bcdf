//go:build clouds

package main

import _ "github.com/caracalai/caracald/distribution/drivers"
