package main

import (
	"log/slog"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/audit/queue"
	"github.com/caracalai/caracald/settings"
	"github.com/caracalai/caracald/telemetry"
)

// auditConsumer takes audit from NATS, nil where that is not wanted.
func auditConsumer(loaded *settings.Loaded[settings.Admin], server *admin.Server, log *slog.Logger, observed *telemetry.Telemetry) (*queue.Consumer, error) {
	set := loaded.Settings
	if len(set.AuditNATS) == 0 {
		return nil, nil
	}
	c, err := queue.NewConsumer(queue.Config{
		URLs: set.AuditNATS, CredsFile: set.AuditNATSCreds, CAFile: set.AuditNATSCA, CertFile: set.AuditNATSCert, KeyFile: set.AuditNATSKey,
		Stream: set.AuditNATSStream, Subject: set.AuditNATSSubject, Name: "caracal admin", Logger: log, MeterProvider: observed.Meters,
	}, queue.ConsumerOptions{Receiver: server, Replicas: set.AuditNATSReplicas, MaxBytes: set.AuditNATSMaxBytes})
	if err != nil {
		return nil, loaded.Invalid("audit-nats", err)
	}
	return c, nil
}
