package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/audit/files"
	"github.com/caracalai/caracald/audit/otlp"
	"github.com/caracalai/caracald/audit/queue"
	"github.com/caracalai/caracald/settings"
	"github.com/caracalai/caracald/telemetry"
)

// openSink makes the sink of the audit, nil for the admin side.
func openSink(ctx context.Context, loaded *settings.Loaded[settings.Daemon], log *slog.Logger, observed *telemetry.Telemetry) (audit.Sink, error) {
	set := loaded.Settings
	switch set.AuditSink {
	case "admin":
		return nil, nil
	case "nats":
		if len(set.AuditNATS) == 0 {
			return nil, loaded.Invalid("audit-nats", errors.New("is required for the sink nats"))
		}
		p, err := queue.NewPublisher(queue.Config{
			URLs: set.AuditNATS, CredsFile: set.AuditNATSCreds, CAFile: set.AuditNATSCA, CertFile: set.AuditNATSCert, KeyFile: set.AuditNATSKey,
			Stream: set.AuditNATSStream, Subject: set.AuditNATSSubject, Name: "caracald " + set.Name, Logger: log, MeterProvider: observed.Meters,
		})
		if err != nil {
			return nil, loaded.Invalid("audit-nats", err)
		}
		return p, nil
	case "otlp":
		s, err := otlp.New(ctx, otlp.Options{Resource: observed.Resource, Version: version, Logger: log})
		if err != nil {
			return nil, loaded.Invalid("audit-sink", err)
		}
		return s, nil
	case "file":
		if set.AuditFile == "" {
			return nil, loaded.Invalid("audit-file", errors.New("is required for the sink file"))
		}
		s, err := files.Open(files.Options{
			Path: set.AuditFile, MaxBytes: set.AuditFileMaxBytes, RotateAfter: set.AuditFileRotateAfter, MaxAge: set.AuditFileMaxAge,
			MaxFiles: set.AuditFileMaxFiles, Logger: log,
		})
		if err != nil {
			return nil, loaded.Invalid("audit-file", err)
		}
		return s, nil
	}
	return nil, loaded.Invalid("audit-sink", fmt.Errorf("%q is not admin, nats, otlp or file", set.AuditSink))
}
