// Package deploy is how caracald is run: systemd units, a container file, a
// Helm chart, alert rules and dashboards. README.md says what is where.
//
// The package has tests only, and is in a module of its own so that what they
// need (Helm, Kubernetes' types, Prometheus' and BuildKit's parsers) stays out
// of the others. Nothing here may name a setting, a metric or a label that the
// binaries do not have.
package deploy
