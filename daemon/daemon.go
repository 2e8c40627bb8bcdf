// Package daemon is the STS side: it watches pointers, verifies and loads what
// they name, answers decisions from memory, and reports what it loaded and
// decided. It fails closed, and never answers from anything it did not verify.
package daemon
