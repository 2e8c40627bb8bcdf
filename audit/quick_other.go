//go:build !linux || !(amd64 || arm64)

package audit

// quick is a file for writes that are left to the operating system.
func quick(f file) file { return f }
