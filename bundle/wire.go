package bundle

import (
	"encoding/json"
	"time"
)

// WatchRequest is the body of POST /v1/pointers/watch.
type WatchRequest struct {
	// Zones is either the JSON string "*" (every zone the token reaches) or an
	// object from zone id to the last sequence the daemon has verified, -1 for
	// none. Build it with AllZones or SomeZones.
	Zones json.RawMessage `json:"zones"`
	// Have says, for each zone, exactly which pointer the daemon holds. It is
	// what "*" is compared with, and lets a re-signed pointer (same sequence,
	// later IssuedAt) reach the daemon before the held one expires.
	Have map[string]Held `json:"have,omitempty"`
	// WaitSeconds is how long the poll may stay open: 0 to 60.
	WaitSeconds int `json:"wait_seconds"`
}

// Held names one verified pointer.
type Held struct {
	Sequence int64     `json:"sequence"`
	IssuedAt time.Time `json:"issued_at"`
}

// WatchResponse is its answer, with status 200. When the wait ends and nothing
// is newer the answer is 204 without a body.
type WatchResponse struct {
	Pointers []SignedPointer `json:"pointers"`
	// SpreadMS is set where many are told at the same time: over how many
	// milliseconds they should spread, each at random, when they fetch what the
	// pointers name, so that they do not come all at once.
	SpreadMS int64 `json:"spread_ms,omitempty"`
}

// Spread is SpreadMS as a duration, never negative.
func (r *WatchResponse) Spread() time.Duration {
	const most = int64(time.Hour / time.Millisecond)
	return time.Duration(max(0, min(r.SpreadMS, most))) * time.Millisecond
}

// SignedPointer is a zone's pointer with the signature of the bundle it names.
type SignedPointer struct {
	ZoneID   string `json:"zone_id"`
	Sequence int64  `json:"sequence"`
	// Pointer is a DSSE envelope over a Pointer.
	Pointer json.RawMessage `json:"pointer"`
	// Bundle is a DSSE envelope over a Statement; null where the pointer names no bundle.
	Bundle json.RawMessage `json:"bundle"`
}

// Receipt states.
const (
	ReceiptLoaded = "loaded"
	ReceiptFailed = "failed"
)

// ReceiptReport is the body of POST /v1/receipts: what a daemon has loaded.
// The answer is 204.
type ReceiptReport struct {
	DaemonID string            `json:"daemon_id"`
	Name     string            `json:"name"`
	Version  string            `json:"version"`
	Labels   map[string]string `json:"labels,omitempty"`
	Zones    []Receipt         `json:"zones"`
}

// Receipt is a daemon's state for one zone. A failed receipt has the wanted
// sequence and hashes, and Detail says why they could not be loaded; Serving*
// name what goes on answering meanwhile.
type Receipt struct {
	ZoneID             string    `json:"zone_id"`
	State              string    `json:"state"`
	Sequence           int64     `json:"sequence"`
	PolicySetVersionID *string   `json:"policy_set_version_id"`
	ManifestSHA256     string    `json:"manifest_sha256"`
	BundleSHA256       string    `json:"bundle_sha256"`
	LoadedAt           time.Time `json:"loaded_at"`
	Detail             string    `json:"detail,omitempty"`
	ServingSequence    int64     `json:"serving_sequence"`
	ServingVersionID   *string   `json:"serving_version_id"`
}

// TrustResponse is the answer of GET /v1/trust: every version of the trust
// root, oldest first, each a TUF root metadata document signed as TUF says.
type TrustResponse struct {
	Roots []json.RawMessage `json:"roots"`
}
