package store

import (
	"encoding/json"
	"time"
)

// States of a daemon, as they are worked out from what is stored: see DaemonQuery.
const (
	// DaemonHealthy reports, and has loaded what its zones want.
	DaemonHealthy = "healthy"
	// DaemonLagging reports, and is behind the pointer of a zone.
	DaemonLagging = "lagging"
	// DaemonFailing reports that it could not load what a zone wants, or that it cannot serve.
	DaemonFailing = "failing"
	// DaemonUnreachable has not reported lately.
	DaemonUnreachable = "unreachable"
	// DaemonRetired was removed by somebody, and has not reported since.
	DaemonRetired = "retired"
)

// Daemon is what is known of a daemon beside its receipts.
type Daemon struct {
	ID, Name, Version string
	Labels            map[string]string
	// FirstSeenAt is zero where it was seen before that was kept.
	FirstSeenAt, LastSeenAt time.Time
	// Owner is the id of the actor that may report for it; "" where that is not settled yet.
	Owner string
	// Digest stands for all that it reported but what changes all the time; "" where nothing is kept of it.
	Digest string
	// Status is the JSON of what it says of itself; null where it says nothing.
	Status json.RawMessage
	// FailingSince is when it began to say that it cannot serve; nil where it can.
	FailingSince *time.Time
	RetiredAt    *time.Time
}

// Receipt is a daemon's newest report for a zone.
type Receipt struct {
	DaemonID, ZoneID, State      string
	Sequence                     int64
	VersionID                    *string
	ManifestSHA256, BundleSHA256 string
	LoadedAt                     time.Time
	Detail                       string
	ServingSequence              int64
	ServingVersionID             *string
	// Since is when it first reported just this; zero where that was not kept.
	Since time.Time
	// ReportedAt is when it was stored last: it is not stored anew with each report that says the same.
	ReportedAt time.Time
}

// Seen is that a daemon reported what it had reported before.
type Seen struct {
	// ID, Owner and Digest must be those of the stored daemon.
	ID, Owner, Digest string
	At                time.Time
	// Status is what it now says of itself.
	Status json.RawMessage
}

// DaemonQuery filters daemons; zero fields do not, but that retired daemons are
// only listed where they are asked for. By id.
//
// A daemon's state is the first that fits of retired, unreachable (last seen
// before SilentBefore), failing, lagging, healthy. With a zone, only daemons
// that report for it are meant, and only what they report for it counts.
type DaemonQuery struct {
	ZoneID, State string
	// Labels are those that a daemon must have.
	Labels map[string]string
	// Text is a part of the name, id or version; the case of ASCII letters does not matter.
	Text         string
	SilentBefore time.Time
	// After continues a list: only greater ids.
	After string
	Limit int
}

// DaemonState is a daemon with its state.
type DaemonState struct {
	Daemon
	State string
}

// WantedReceipt is a receipt beside the pointer of its zone.
type WantedReceipt struct {
	Receipt
	// WantedSequence is the pointer's, -1 where the zone has none; WantedSince is when it moved there.
	WantedSequence int64
	WantedSince    time.Time
	// Zones is how many zones the daemon reports for.
	Zones int
}

// DaemonCount counts daemons of one state and version.
type DaemonCount struct {
	State, Version string
	Daemons        int
}

// Classes of a zone's daemons, by how far they are with a version.
const (
	// RolloutLoaded has the version, under the pointer as it is where that names the version.
	RolloutLoaded = "loaded"
	// RolloutFailed could not load it.
	RolloutFailed = "failed"
	// RolloutLagging is at an older sequence.
	RolloutLagging = "lagging"
	// RolloutOther has another version of the newest sequence.
	RolloutOther = "other"
	// RolloutSilent has not reported lately, RolloutGone for longer.
	RolloutSilent = "silent"
	RolloutGone   = "gone"
)

// RolloutQuery asks how far a zone's daemons are with a version.
type RolloutQuery struct {
	ZoneID, VersionID string
	// Sequence is the pointer's; Governs tells that it names the version.
	Sequence int64
	Governs  bool
	// Daemons last seen before SilentBefore are silent, before GoneBefore gone.
	SilentBefore, GoneBefore time.Time
}

// RolloutReceipt is a receipt with who gave it, and its class.
type RolloutReceipt struct {
	Receipt
	Name, Class string
	LastSeenAt  time.Time
}

// RolloutOrder says which receipts come first.
type RolloutOrder int

// Orders of receipts.
const (
	// NewestLoad and NewestReport begin with what happened last, Furthest with
	// the lowest sequence, LastSeen with who was heard last.
	NewestLoad RolloutOrder = iota
	NewestReport
	Furthest
	LastSeen
)
