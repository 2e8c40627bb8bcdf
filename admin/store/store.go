// Package store is the contract of the control plane's storage. Backends live
// in sibling folders and must pass the suite in storetest.
//
// Everything that was published is immutable: backends refuse, in the database
// itself, to change or remove policy versions, set versions, manifests,
// bundles, activations and admin-audit entries.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrNotFound is matched when no row has the id, or it is archived.
	ErrNotFound = errors.New("not found")
	// ErrConflict is matched when a unique name or slug is taken.
	ErrConflict = errors.New("already exists")
	// ErrChanged is matched when a compare-and-set found another value.
	ErrChanged = errors.New("changed meanwhile")
	// ErrImmutable is matched when the database refused to rewrite what was published.
	ErrImmutable = errors.New("immutable")
	// ErrChain is matched when a batch of events does not continue the daemon's hash chain. It is an ErrChanged too.
	ErrChain = fmt.Errorf("hash chain does not continue: %w", ErrChanged)
	// ErrHeld is matched when somebody else holds a lease.
	ErrHeld = errors.New("held by another")
	// ErrSchema is matched when a store was brought to a schema that this program may not use: a newer program must.
	ErrSchema = errors.New("the store's schema is too new for this program")
)

// MaxSequence bounds what a pointer can be raised to. It is half of what every
// reader of JSON takes for an exact number, so that moves go on after it.
const MaxSequence = 1 << 52

// Store keeps the control plane's state. Methods are safe for concurrent use.
//
// Times are kept to the microsecond, in UTC. Lists are newest first unless said otherwise; a limit of 0 or less does not
// bound them. A json.RawMessage that is empty is read back as null, those of events as they were.
type Store interface {
	// View runs f on one consistent snapshot.
	View(ctx context.Context, f func(Reader) error) error
	// Update runs f in one transaction; when it returns nil everything f did is durable, otherwise nothing of it happened,
	// also when f panics or ctx ends. A write that the database refused makes Update fail, even where f returns nil.
	// Updates wait for each other: f must not call Update itself.
	Update(ctx context.Context, f func(Tx) error) error
	// Events is the audit half of the store.
	Events() Events
	// Changes tells that pointers may have moved, from this process or another: a value may stand for many changes. It is closed with the store.
	Changes() <-chan struct{}
	// Lease takes the lease of that name for a holder, or renews it, for ttl by the store's own clock; ErrHeld while another
	// holder's lasts. Of those who share the store one at most holds it at a time. generation grows whenever the lease
	// is taken anew, also by the same holder, and never goes back. Who holds a lease can lose it without
	// noticing, so what is done under one must be safe where two do it.
	Lease(ctx context.Context, name, holder string, ttl time.Duration) (generation int64, err error)
	// Release gives a lease back, so that others need not wait for its end; nothing happens where the holder has it not.
	Release(ctx context.Context, name, holder string) error
	// Check verifies the store's own integrity: hashes, chains, references. It returns what is wrong, nil where nothing is.
	Check(ctx context.Context) ([]string, error)
	Close() error
}

// Cursor positions a list: rows strictly older than (At, ID) come next. The zero cursor starts at the newest.
type Cursor struct {
	At time.Time
	ID string
}

// Reader reads.
type Reader interface {
	Zone(ctx context.Context, id string) (Zone, error)
	Zones(ctx context.Context, limit int, after Cursor) ([]Zone, error)

	Policy(ctx context.Context, zoneID, id string) (Policy, error)
	Policies(ctx context.Context, zoneID string, limit int, after Cursor) ([]Policy, error)
	PolicyVersion(ctx context.Context, zoneID, versionID string) (PolicyVersion, error)
	// PolicyVersions lists newest first, without content.
	PolicyVersions(ctx context.Context, zoneID, policyID string) ([]PolicyVersion, error)

	PolicySet(ctx context.Context, zoneID, id string) (PolicySet, error)
	PolicySets(ctx context.Context, zoneID string, limit int, after Cursor) ([]PolicySet, error)
	SetVersion(ctx context.Context, zoneID, setID, versionID string) (SetVersion, error)
	SetVersions(ctx context.Context, zoneID, setID string, limit int, after Cursor) ([]SetVersion, error)
	// SetVersionPolicies lists a set version's policy versions, with content, in the manifest's order.
	SetVersionPolicies(ctx context.Context, versionID string) ([]SetPolicy, error)

	// Bundle returns the compressed bundle and its signature envelope.
	Bundle(ctx context.Context, sha256 string) (Bundle, error)
	// Bundles lists the hashes of the bundles of all set versions made at or after a time, archived ones included, those of
	// the newest versions first, each once; the zero time lists every bundle.
	Bundles(ctx context.Context, since time.Time) ([]string, error)
	// BundleZones lists the zones whose set versions name the bundle.
	BundleZones(ctx context.Context, sha256 string) ([]string, error)

	Pointer(ctx context.Context, zoneID string) (Pointer, error)
	// Pointers lists every zone's pointer, archived zones included.
	Pointers(ctx context.Context) ([]Pointer, error)
	Activation(ctx context.Context, zoneID, id string) (Activation, error)
	Activations(ctx context.Context, zoneID string, limit int, after Cursor) ([]Activation, error)
	PendingOutbox(ctx context.Context, limit int) ([]Activation, error)

	TokenByHash(ctx context.Context, hash []byte) (Token, error)
	Token(ctx context.Context, id string) (Token, error)
	Tokens(ctx context.Context, limit int, after Cursor) ([]Token, error)

	Daemon(ctx context.Context, id string) (Daemon, error)
	// Daemons lists daemons by id.
	Daemons(ctx context.Context, q DaemonQuery) ([]DaemonState, error)
	// CountDaemons counts the daemons that match, by state and version; limit and cursor do not matter.
	CountDaemons(ctx context.Context, q DaemonQuery) ([]DaemonCount, error)
	// Receipts lists what daemons reported, by daemon, for a zone or, where that is "", for every zone. Of each daemon
	// come at most so many (0: all), what failed first, then what is behind, then by zone.
	Receipts(ctx context.Context, daemonIDs []string, zoneID string, each int) ([]WantedReceipt, error)
	// StaleReceipts lists receipts that were stored more than so long before their daemon was seen last: it reports for the zone no more.
	StaleReceipts(ctx context.Context, age time.Duration, limit int) ([]Receipt, error)
	// Rollout counts the daemons that report for a zone, by class.
	Rollout(ctx context.Context, q RolloutQuery) (map[string]int, error)
	// RolloutReceipts lists receipts of some classes.
	RolloutReceipts(ctx context.Context, q RolloutQuery, order RolloutOrder, limit int, classes ...string) ([]RolloutReceipt, error)

	AdminEvents(ctx context.Context, q AdminEventQuery) ([]AdminEvent, error)
	// Idempotent finds the stored answer for an actor's key.
	Idempotent(ctx context.Context, actorID, key string) (IdempotentAnswer, error)
	// Spent tells whether an id was spent and is not forgotten yet.
	Spent(ctx context.Context, id string) (bool, error)
	// Secret returns a named value that is not part of the API (signing keys, trust roots).
	Secret(ctx context.Context, name string) ([]byte, error)
}

// Tx reads and writes.
type Tx interface {
	Reader

	InsertZone(ctx context.Context, z Zone) error
	UpdateZone(ctx context.Context, z Zone) error
	ArchiveZone(ctx context.Context, id string, at time.Time) error

	// InsertPolicy inserts a policy with its first version.
	InsertPolicy(ctx context.Context, p Policy, v PolicyVersion) error
	// InsertPolicyVersion numbers the version itself (one more than the newest) and returns it.
	InsertPolicyVersion(ctx context.Context, v PolicyVersion) (PolicyVersion, error)
	ArchivePolicy(ctx context.Context, zoneID, id string, at time.Time) error

	InsertPolicySet(ctx context.Context, s PolicySet) error
	ArchivePolicySet(ctx context.Context, zoneID, id string, at time.Time) error
	// NextSetVersion is the number the set's next version will have.
	NextSetVersion(ctx context.Context, zoneID, setID string) (int, error)
	// InsertSetVersion inserts a version, its ordered policy versions, and its bundle (which may exist already).
	InsertSetVersion(ctx context.Context, v SetVersion, policyVersionIDs []string, b Bundle) error

	// MovePointer writes the zone's new pointer and its activation. The pointer's sequence must be one more
	// than the stored one (0 where there is none), otherwise ErrChanged. A version it names must be one of the
	// zone and set with the same hashes, otherwise ErrNotFound.
	MovePointer(ctx context.Context, p Pointer, a Activation) error
	// RaisePointer writes the zone's pointer anew under any higher sequence up to MaxSequence, and its activation: for a
	// store that was restored, whose daemons have seen more than it knows. All that the pointer names stays, and the activation's
	// previous version is that version too. ErrChanged where the stored pointer names something else, or its sequence is not lower
	// or its IssuedAt not earlier; ErrNotFound where there is none.
	RaisePointer(ctx context.Context, p Pointer, a Activation) error
	// ResignPointer replaces the envelope, settings and times of the pointer with the same sequence and an earlier
	// IssuedAt; ErrChanged otherwise.
	ResignPointer(ctx context.Context, p Pointer) error
	// MarkOutbox records an attempt to dispatch an activation; lastErr "" means it was dispatched, which stays so.
	MarkOutbox(ctx context.Context, activationID string, at time.Time, lastErr string) error

	InsertToken(ctx context.Context, t Token) error
	RevokeToken(ctx context.Context, id string, at time.Time) error
	TouchToken(ctx context.Context, id string, at time.Time) error

	// PutDaemon replaces the daemon; when it was seen last never goes back, and when it was seen first stays.
	PutDaemon(ctx context.Context, d Daemon) error
	// PutReceipt replaces the daemon's receipt for the zone, unless that is newer.
	PutReceipt(ctx context.Context, r Receipt) error
	// DeleteReceipt removes a receipt, if it is there.
	DeleteReceipt(ctx context.Context, daemonID, zoneID string) error
	// SeeDaemons notes that daemons were seen, and their status. It tells how many were noted: one that is retired, or has
	// another owner or digest, or was seen later, is not.
	SeeDaemons(ctx context.Context, seen []Seen) (int64, error)
	// RetireDaemon removes the daemon's receipts, owner and digest, and keeps that it was retired. A daemon that is retired already is ErrNotFound.
	RetireDaemon(ctx context.Context, id string, at time.Time) error
	// ForgetDaemons removes at most so many daemons, with their receipts, that were last seen before a time. It tells how many.
	ForgetDaemons(ctx context.Context, before time.Time, limit int) (int64, error)

	// AppendAdminEvent chains and inserts the event; ChainSeq and ChainHash are set by the store.
	AppendAdminEvent(ctx context.Context, e AdminEvent) (AdminEvent, error)
	PutIdempotent(ctx context.Context, a IdempotentAnswer) error
	DeleteIdempotentBefore(ctx context.Context, t time.Time) error
	// Spend notes that what an id names was used up or ended, until it would have ended by itself; ErrConflict where
	// it was spent already.
	Spend(ctx context.Context, id string, until time.Time) error
	// DeleteSpentBefore forgets what ended by itself before a time.
	DeleteSpentBefore(ctx context.Context, t time.Time) error
	PutSecret(ctx context.Context, name string, value []byte) error
}

// Events keeps the audit events that daemons ship.
type Events interface {
	// Append stores one batch's records in one transaction, idempotent by daemon, epoch and offset: records below
	// NextOffset are skipped. A batch that begins beyond it is stored too, and the hole is recorded. ErrChanged when a
	// batch begins at NextOffset and its PrevHash is not the Hash stored with the batch before (zero where there is none);
	// it is ErrChain then. An event whose ID and OccurredAt another event of its zone has is stored under a new ID, so
	// that each has its own place in lists. Records' DaemonID, Epoch, Offset and IngestedAt are the batch's.
	Append(ctx context.Context, b EventBatch) (AppendResult, error)
	// NextOffset is the first offset not yet stored from a daemon's epoch, 0 where nothing is.
	NextOffset(ctx context.Context, daemonID, epoch string) (uint64, error)
	Query(ctx context.Context, q EventQuery) ([]Event, error)
	// Count counts a zone's decisions by step of time, daemon and outcome, in the order of time.
	Count(ctx context.Context, q EventCountQuery) ([]EventCount, error)
	// ByRequest returns a request's events, oldest first.
	ByRequest(ctx context.Context, zoneID, requestID string) ([]Event, error)
	// Since returns events of a zone with Seq > seq in Seq order, for tailing.
	Since(ctx context.Context, zoneID string, seq int64, limit int) ([]Event, error)
	// LastSeq is the newest Seq of a zone, 0 where there is none.
	LastSeq(ctx context.Context, zoneID string) (int64, error)
	// Trim removes a zone's events that are older than before (zero: none) and then the oldest until the
	// zone's events take at most maxBytes (0: unbounded). It returns how many went.
	Trim(ctx context.Context, zoneID string, before time.Time, maxBytes int64) (int64, error)
	// Added tells that events were stored: a value may stand for many.
	Added() <-chan struct{}
}

type Zone struct {
	ID, Name, Slug string
	// Settings is the JSON of api.ZoneSettings.
	Settings             json.RawMessage
	CreatedAt, UpdatedAt time.Time
	ArchivedAt           *time.Time
}

type Policy struct {
	ID, ZoneID, Name, Description string
	CreatedAt                     time.Time
	CreatedBy                     string
	// Latest is the newest version, without content. Filled on reading.
	Latest PolicyVersion
}

type PolicyVersion struct {
	ID, PolicyID, ZoneID   string
	Version                int
	Content, ContentSHA256 string
	// Tests is the author's test document for the content, "" for none; no bundle has it.
	Tests         string
	SchemaVersion string
	// Warnings is the JSON of the validation's warnings.
	Warnings  json.RawMessage
	CreatedAt time.Time
	CreatedBy string
}

type PolicySet struct {
	ID, ZoneID, Name, Description string
	// ActiveVersionID is filled on reading, from the zone's pointer.
	ActiveVersionID *string
	CreatedAt       time.Time
	CreatedBy       string
}

type SetVersion struct {
	ID, PolicySetID, ZoneID string
	Version                 int
	// Manifest is the canonical manifest.
	Manifest                     []byte
	ManifestSHA256, BundleSHA256 string
	BundleSize                   int64
	SchemaVersion                string
	Warnings                     json.RawMessage
	CreatedAt                    time.Time
	CreatedBy                    string
}

// SetPolicy is a policy version of a set version with its policy's name.
type SetPolicy struct {
	PolicyVersion
	PolicyName string
}

// Bundle is content-addressed by SHA256.
type Bundle struct {
	SHA256   string
	Data     []byte
	Envelope json.RawMessage
}

// Pointer is a zone's current pointer.
type Pointer struct {
	ZoneID                 string
	Sequence               int64
	PolicySetID, VersionID *string
	ManifestSHA256         string
	BundleSHA256           string
	BundleSize             int64
	// Envelope is the signed pointer.
	Envelope            json.RawMessage
	IssuedAt, ExpiresAt time.Time
	// Since, ActivatedBy and Reason are of the move, not of a re-signing.
	Since               time.Time
	ActivatedBy, Reason string
}

// Activation is one move of a pointer; its ID is the outbox id.
type Activation struct {
	ID, ZoneID                                string
	Sequence                                  int64
	PolicySetID, VersionID, PreviousVersionID *string
	ManifestSHA256, BundleSHA256              string
	Reason, ActorID, ActorName                string
	CreatedAt                                 time.Time
	// Outbox state; the only part that changes.
	Attempts     int
	LastError    string
	DispatchedAt *time.Time
}

// Token is an API token; Hash is the SHA-256 of its secret.
type Token struct {
	ID, Name             string
	Hash                 []byte
	Roles                []string
	ZoneID               *string
	CreatedAt            time.Time
	CreatedBy            string
	ExpiresAt, RevokedAt *time.Time
	LastUsedAt           *time.Time
}

type AdminEvent struct {
	ID, RequestID, ZoneID, ActorID, ActorName string
	Action, EntityType, EntityID              string
	StatusCode                                int
	Payload                                   json.RawMessage
	OccurredAt                                time.Time
	ChainSeq                                  int64
	ChainHash                                 string
}

// AdminEventQuery filters; zero fields do not. Newest first.
type AdminEventQuery struct {
	ZoneID, ActorID, Action, RequestID string
	Since, Until                       time.Time
	Limit                              int
	// BeforeSeq continues a list: only entries with a smaller ChainSeq. 0 starts at the newest.
	BeforeSeq int64
}

// IdempotentAnswer is the answer given to a POST with an Idempotency-Key.
type IdempotentAnswer struct {
	ActorID, Key string
	// RequestHash is the SHA-256 of method, path and body.
	RequestHash []byte
	StatusCode  int
	Body        []byte
	CreatedAt   time.Time
}

// Event is one stored audit event. Seq grows with every stored event.
type Event struct {
	Seq                              int64
	ID, ZoneID, EventType, RequestID string
	Decision, EvaluationStatus       string
	PolicySetID, PolicySetVersionID  string
	ManifestSHA256, BundleSHA256     string
	PointerSequence                  int64
	DeterminingPolicies, Diagnostics json.RawMessage
	Metadata, Input                  json.RawMessage
	OccurredAt, IngestedAt           time.Time
	DaemonID, Epoch                  string
	Offset                           uint64
}

// EventBatch is consecutive records of one daemon's epoch, beginning at First.
type EventBatch struct {
	DaemonID, Epoch string
	First           uint64
	// PrevHash and Hash are the daemon's chain before the first and after the last record.
	PrevHash, Hash [32]byte
	Events         []Event
	At             time.Time
}

type AppendResult struct {
	Accepted, Duplicate int
	NextOffset          uint64
	// Hole is how many offsets before First were never received; 0 normally.
	Hole uint64
}

// EventCountQuery says which decisions are counted: Since <= OccurredAt < Until,
// in steps that begin at Since.
type EventCountQuery struct {
	ZoneID       string
	Since, Until time.Time
	// Step is at least a microsecond.
	Step time.Duration
}

// EventCount is how many decisions of one daemon, in one step, came out alike.
type EventCount struct {
	// At is when the step begins.
	At                                   time.Time
	DaemonID, Decision, EvaluationStatus string
	Count                                int64
	// LastAt is when the newest of them occurred.
	LastAt time.Time
	// ShippedAfter is, in sum, how long after they occurred they were stored.
	ShippedAfter time.Duration
}

// EventQuery filters; zero fields do not. Newest first, by OccurredAt then ID.
type EventQuery struct {
	ZoneID                         string
	Since, Until                   time.Time
	RequestID, Decision, EventType string
	Limit                          int
	After                          Cursor
}
