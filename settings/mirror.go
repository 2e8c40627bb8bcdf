package settings

import "time"

// Mirror is everything that can be set for caracal mirror.
type Mirror struct {
	Addr            string        `name:"mirror-addr" doc:"TCP address for daemons"`
	TLSCert         string        `name:"tls-cert" doc:"PEM file of the certificate for daemons"`
	TLSKey          string        `name:"tls-key" doc:"PEM file of its key"`
	AdminURLs       []string      `name:"admin-url" doc:"URLs of the control plane, or of another mirror, tried in order"`
	Token           string        `name:"token" doc:"token with the role daemon for every zone to relay" secret:"true"`
	TokenFile       string        `name:"token-file" doc:"file that holds the token, instead of token"`
	AdminCA         string        `name:"admin-ca" doc:"PEM file of the authorities to trust for the control plane's TLS; empty for the system's"`
	ClientCert      string        `name:"client-cert" doc:"PEM file of the client certificate for mTLS with the control plane"`
	ClientKey       string        `name:"client-key" doc:"PEM file of its key"`
	Zones           []string      `name:"zone" doc:"zone ids to relay; empty for every zone the token reaches"`
	TrustRoot       string        `name:"trust-root" doc:"file with the trust root (TUF root metadata) that this mirror is pinned to"`
	TrustRootSHA256 string        `name:"trust-root-sha256" doc:"SHA-256 of the trust root to accept from the control plane, instead of trust-root"`
	StateDir        string        `name:"state-dir" doc:"directory for pointers, bundles and which tokens were accepted"`
	CacheBytes      int64         `name:"cache-bytes" doc:"most bytes of bundles kept on disk"`
	BundleSources   []string      `name:"bundle-source" doc:"URLs to fetch bundles from before the control plane is asked, tried in order: https://host/path, s3://bucket, gs://bucket, azblob://container or file:///directory" secret:"true"`
	BundleTimeout   time.Duration `name:"bundle-timeout" doc:"how long a bundle source may take before the next is tried"`
	GrantTTL        time.Duration `name:"grant-ttl" doc:"how long a token that the control plane accepted is accepted while the control plane cannot be asked"`
	GrantRecheck    time.Duration `name:"grant-recheck" doc:"how long such a token is accepted without asking while the control plane can be asked; bounds how late a revocation is noticed"`
	MaxWatchers     int           `name:"max-watchers" doc:"most long polls of daemons open at once"`
	LogLevel        string        `name:"log-level" doc:"debug, info, warn or error"`
	LogFormat       string        `name:"log-format" doc:"text or json"`
}

// DefaultMirror is what holds where nothing is set.
func DefaultMirror() Mirror {
	return Mirror{
		Addr:          "127.0.0.1:3100",
		AdminURLs:     []string{"http://127.0.0.1:3000"},
		StateDir:      "caracal-mirror",
		CacheBytes:    1 << 30,
		BundleTimeout: 10 * time.Second,
		GrantTTL:      24 * time.Hour,
		GrantRecheck:  time.Minute,
		MaxWatchers:   20000,
		LogLevel:      "info",
		LogFormat:     "text",
	}
}
