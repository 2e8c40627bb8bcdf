package settings

import "time"

// Daemon is everything that can be set for caracald.
type Daemon struct {
	AdminURLs            []string          `name:"admin-url" doc:"URLs of the admin side, tried in order"`
	Token                string            `name:"token" doc:"token with the role daemon" secret:"true"`
	TokenFile            string            `name:"token-file" doc:"file that holds the token, instead of token"`
	AdminCA              string            `name:"admin-ca" doc:"PEM file of the authorities to trust for the admin side's TLS; empty for the system's"`
	ClientCert           string            `name:"client-cert" doc:"PEM file of the client certificate for mTLS with the admin side"`
	ClientKey            string            `name:"client-key" doc:"PEM file of its key"`
	BundleSources        []string          `name:"bundle-source" doc:"URLs to fetch bundles from, tried in order: https://host/path for a web server or CDN, s3://bucket, gs://bucket, azblob://container or file:///directory for an object store, and admin for the admin side, which is last when it is not listed" secret:"true"`
	BundleTimeout        time.Duration     `name:"bundle-timeout" doc:"how long a bundle source may take before the next is tried"`
	Zones                []string          `name:"zone" doc:"zone ids to serve; empty for every zone the token reaches"`
	TrustRoot            string            `name:"trust-root" doc:"file with the trust root (TUF root metadata) that this daemon is pinned to"`
	TrustRootSHA256      string            `name:"trust-root-sha256" doc:"SHA-256 of the trust root to accept from the admin side, instead of trust-root"`
	StateDir             string            `name:"state-dir" doc:"directory for verified pointers, bundles and the audit spool"`
	DecideAddr           string            `name:"decide-addr" doc:"TCP address of the decision API; empty for none"`
	DecideSocket         string            `name:"decide-socket" doc:"path of the decision API's Unix socket; empty for none"`
	DecideTokens         []string          `name:"decide-token" doc:"bearer tokens the decision API asks for; required for an address that is not loopback" secret:"true"`
	TLSCert              string            `name:"tls-cert" doc:"PEM file of the decision API's certificate"`
	TLSKey               string            `name:"tls-key" doc:"PEM file of its key"`
	AuditMode            string            `name:"audit-mode" doc:"when the spool takes no more: refuse decisions, or count the gap"`
	SpoolDurability      string            `name:"spool-durability" doc:"group (fsync every few ms), each (fsync each record) or none (left to the OS)"`
	SpoolMaxBytes        int64             `name:"spool-max-bytes" doc:"most bytes of unshipped audit kept on disk"`
	AuditSink            string            `name:"audit-sink" doc:"where audit goes: admin (the admin side's store), nats (JetStream), otlp (logs, by the OTEL_ variables) or file"`
	AuditNATS            []string          `name:"audit-nats" doc:"URLs of NATS servers for the sink nats, such as nats://host:4222" secret:"true"`
	AuditNATSCreds       string            `name:"audit-nats-creds" doc:"credentials file for NATS"`
	AuditNATSCA          string            `name:"audit-nats-ca" doc:"PEM file of the authorities to trust for NATS; empty for the system's"`
	AuditNATSCert        string            `name:"audit-nats-cert" doc:"PEM file of the client certificate for NATS"`
	AuditNATSKey         string            `name:"audit-nats-key" doc:"PEM file of its key"`
	AuditNATSStream      string            `name:"audit-nats-stream" doc:"name of the JetStream stream"`
	AuditNATSSubject     string            `name:"audit-nats-subject" doc:"what the subjects of audit begin with; a dot and the daemon's id follow"`
	AuditFile            string            `name:"audit-file" doc:"file for the sink file; rotated ones are beside it"`
	AuditFileMaxBytes    int64             `name:"audit-file-max-bytes" doc:"size from which the file is rotated"`
	AuditFileRotateAfter time.Duration     `name:"audit-file-rotate-after" doc:"age of its first record from which the file is rotated; negative for never"`
	AuditFileMaxAge      time.Duration     `name:"audit-file-max-age" doc:"how long rotated files are kept; 0 for ever"`
	AuditFileMaxFiles    int               `name:"audit-file-max-files" doc:"most rotated files that are kept; 0 for all"`
	AdminLost            string            `name:"admin-lost" doc:"when a pointer expires: grace (serve for the grace) or deny"`
	Grace                time.Duration     `name:"grace" doc:"how long an expired pointer is served while the admin side cannot be reached"`
	ShipInterval         time.Duration     `name:"ship-interval" doc:"least time between batches of audit that are less than half full; the first after a silence goes at once"`
	MaxSpread            time.Duration     `name:"max-spread" doc:"most time a bundle is waited with before it is fetched, where the admin side says that many are told of it at once"`
	CacheBytes           int64             `name:"cache-bytes" doc:"most bytes of the decision cache, which policies that decide as soon as it would do without; 0 turns it off"`
	MaxInputBytes        int               `name:"max-input-bytes" doc:"most bytes of one input"`
	EvalTimeout          time.Duration     `name:"eval-timeout" doc:"most time of one evaluation"`
	EvalMemory           int64             `name:"eval-memory" doc:"most bytes one evaluation may build"`
	Name                 string            `name:"name" doc:"name under which the admin side lists this daemon; the host's name by default"`
	Labels               map[string]string `name:"label" doc:"labels for the list of daemons, name=value"`
	LogLevel             string            `name:"log-level" doc:"debug, info, warn or error"`
	LogFormat            string            `name:"log-format" doc:"text or json"`
}

// DefaultDaemon is what holds where nothing is set.
func DefaultDaemon() Daemon {
	return Daemon{
		AdminURLs:            []string{"http://127.0.0.1:3000"},
		BundleTimeout:        10 * time.Second,
		StateDir:             "caracald-state",
		DecideAddr:           "127.0.0.1:8181",
		AuditMode:            "refuse",
		SpoolDurability:      "group",
		SpoolMaxBytes:        1 << 30,
		AuditSink:            "admin",
		AuditNATSStream:      "CARACAL_AUDIT",
		AuditNATSSubject:     "caracal.audit",
		AuditFileMaxBytes:    100 << 20,
		AuditFileRotateAfter: 24 * time.Hour,
		AdminLost:            "grace",
		Grace:                24 * time.Hour,
		ShipInterval:         time.Second,
		MaxSpread:            10 * time.Second,
		CacheBytes:           64 << 20,
		MaxInputBytes:        1 << 20,
		EvalTimeout:          time.Second,
		EvalMemory:           128 << 20,
		LogLevel:             "info",
		LogFormat:            "text",
	}
}
