// Package admin is the control plane: what people do to zones, policies,
// policy sets and tokens, what daemons fetch from it and report to it, and the
// HTTP API for both.
package admin
