package settings

import "time"

// Admin is everything that can be set for caracal admin.
type Admin struct {
	Addr                string        `name:"admin-addr" doc:"TCP address of the admin API"`
	DataDir             string        `name:"data-dir" doc:"directory of the store"`
	Store               string        `name:"store" doc:"PostgreSQL URL of the store (postgres://user:password@host/database); SQLite files in the data directory when empty" secret:"true"`
	StoreOwner          string        `name:"store-owner" doc:"PostgreSQL URL that logs in as the owner of the store's schema, to migrate it and to grant the role of store its rights; store itself when empty" secret:"true"`
	StorePoll           time.Duration `name:"store-poll" doc:"how often the store is asked for what other replicas changed; bounds how late a lost notification is noticed"`
	Token               string        `name:"token" doc:"secret of the built-in token with the role admin; made and kept in the data directory when empty" secret:"true"`
	TLSCert             string        `name:"tls-cert" doc:"PEM file of the admin API's certificate"`
	TLSKey              string        `name:"tls-key" doc:"PEM file of its key"`
	ClientCA            string        `name:"client-ca" doc:"PEM file of the authorities whose client certificates make a daemon (mTLS)"`
	BundleKey           string        `name:"bundle-key" doc:"PEM file of the key that signs bundles; kept in the store when empty"`
	PointerKey          string        `name:"pointer-key" doc:"PEM file of the key that signs pointers; kept in the store when empty"`
	TrustRoots          []string      `name:"trust-root" doc:"files of the trust root's versions, oldest first; required with bundle-key and pointer-key"`
	BundleStore         string        `name:"bundle-store" doc:"URL of an object store to publish every bundle to: s3://bucket, gs://bucket, azblob://container or file:///directory; none when empty" secret:"true"`
	PointerTTL          time.Duration `name:"pointer-ttl" doc:"how long a signed pointer is valid; it is renewed at half of it"`
	HeartbeatTimeout    time.Duration `name:"heartbeat-timeout" doc:"age of a daemon's last report after which it counts as unreachable"`
	LoadedShare         float64       `name:"loaded-share" doc:"share of a zone's reachable daemons that must have loaded an activated version, above 0 and at most 1; a zone's settings come first"`
	ForgetDaemons       time.Duration `name:"forget-daemons" doc:"how long a daemon that reports nothing is remembered"`
	MaintenanceInterval time.Duration `name:"maintenance-interval" doc:"time between runs of retention, renewal and clean-up"`
	LeaseTTL            time.Duration `name:"lease-ttl" doc:"how long what one replica does for all waits for a replica that is gone"`
	MaxWatchers         int           `name:"max-watchers" doc:"most long polls and audit tails open at once; each needs an open file"`
	FetchRate           int           `name:"fetch-rate" doc:"bundle fetches in a second that watchers who are told of one at the same time are spread over"`
	AuditNATS           []string      `name:"audit-nats" doc:"URLs of NATS servers whose JetStream stream of audit is consumed, such as nats://host:4222; empty for none" secret:"true"`
	AuditNATSCreds      string        `name:"audit-nats-creds" doc:"credentials file for NATS"`
	AuditNATSCA         string        `name:"audit-nats-ca" doc:"PEM file of the authorities to trust for NATS; empty for the system's"`
	AuditNATSCert       string        `name:"audit-nats-cert" doc:"PEM file of the client certificate for NATS"`
	AuditNATSKey        string        `name:"audit-nats-key" doc:"PEM file of its key"`
	AuditNATSStream     string        `name:"audit-nats-stream" doc:"name of the JetStream stream; made when there is none"`
	AuditNATSSubject    string        `name:"audit-nats-subject" doc:"what the subjects of audit begin with; a dot and the daemon's id follow"`
	AuditNATSReplicas   int           `name:"audit-nats-replicas" doc:"replicas of a stream that is made, 1 to 5"`
	AuditNATSMaxBytes   int64         `name:"audit-nats-max-bytes" doc:"most bytes of a stream that is made; a full one refuses more, and the daemons keep it; 0 for no bound but the account's"`
	LogLevel            string        `name:"log-level" doc:"debug, info, warn or error"`
	LogFormat           string        `name:"log-format" doc:"text or json"`
}

// DefaultAdmin is what holds where nothing is set.
func DefaultAdmin() Admin {
	return Admin{
		Addr:                "127.0.0.1:3000",
		DataDir:             "caracal-data",
		StorePoll:           time.Second,
		PointerTTL:          24 * time.Hour,
		HeartbeatTimeout:    time.Minute,
		LoadedShare:         1,
		ForgetDaemons:       7 * 24 * time.Hour,
		MaintenanceInterval: time.Minute,
		LeaseTTL:            15 * time.Second,
		MaxWatchers:         20000,
		FetchRate:           4000,
		AuditNATSStream:     "CARACAL_AUDIT",
		AuditNATSSubject:    "caracal.audit",
		AuditNATSReplicas:   1,
		LogLevel:            "info",
		LogFormat:           "text",
	}
}

// Dev is everything that can be set for caracal dev.
type Dev struct {
	AdminAddr    string `name:"admin-addr" doc:"TCP address of the admin API"`
	DecideAddr   string `name:"decide-addr" doc:"TCP address of the decision API"`
	DecideSocket string `name:"decide-socket" doc:"path of the decision API's Unix socket; decide.sock in the data directory when empty, none for -"`
	DataDir      string `name:"data-dir" doc:"directory of store, state and env file"`
	Zone         string `name:"zone" doc:"name of the demo zone"`
	Token        string `name:"token" doc:"secret of the built-in token with the role admin; made and kept in the data directory when empty" secret:"true"`
	LogLevel     string `name:"log-level" doc:"debug, info, warn or error"`
	LogFormat    string `name:"log-format" doc:"text or json"`
}

// DefaultDev is what holds where nothing is set.
func DefaultDev() Dev {
	return Dev{
		AdminAddr:  "127.0.0.1:3000",
		DecideAddr: "127.0.0.1:8181",
		DataDir:    "caracal-dev",
		Zone:       "demo",
		LogLevel:   "warn",
		LogFormat:  "text",
	}
}
