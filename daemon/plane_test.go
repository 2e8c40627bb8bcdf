package daemon_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

// patience bounds how long a test waits for what must happen.
const patience = 30 * time.Second

const daemonToken = "token-of-the-test-daemon"

// plane is a small control plane: it signs, publishes and serves what daemons
// ask for, takes what they report, and can misbehave.
type plane struct {
	t      testing.TB
	server *httptest.Server
	trust  *authority

	mu       sync.Mutex
	changed  chan struct{} // closed at every change
	pointers map[string]bundle.SignedPointer
	issued   map[string]bundle.Pointer
	bundles  map[string][]byte
	receipts map[string]bundle.Receipt // by zone, the last one of any daemon
	report   bundle.ReceiptReport      // the last one
	records  []audit.Record
	offsets  map[string]uint64 // by daemon and epoch
	chains   map[string][32]byte
	gaps     uint64
	watches  int
	// spread, in milliseconds, is told with every pointer; fetched are the hashes
	// of bundles that were asked for, have is what the last watch held.
	spread  int64
	fetched map[string]int
	have    map[string]bundle.Held
	// refuse, where set, may answer a call with a status other than 0.
	refuse func(r *http.Request) int
	// zones, where set, are the only ones whose records the token may send.
	zones map[string]bool
	// old refuses what daemons of an older version did not send.
	old bool
	// taken answers that the daemon's id is another's.
	taken          bool
	refusedBatches int
	// unknown, where set, is a zone whose receipts are refused; attempts are all reports, refused ones too.
	unknown  string
	attempts []bundle.ReceiptReport
	// builds answers what the next report can build on, and refuses it with 409 where it
	// builds on something else than revision. Otherwise a base is a field that is not known.
	builds   bool
	revision string
}

// authority holds the signing keys and the chain of trust roots.
type authority struct {
	root, bundles, pointers *bundle.PrivateKey
	roots                   []json.RawMessage
	version                 int64
}

func newKey(t testing.TB) *bundle.PrivateKey {
	t.Helper()
	k, err := bundle.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{root: newKey(t), bundles: newKey(t), pointers: newKey(t)}
	a.issue(t, a.root)
	return a
}

// issue signs the next root by the keys given.
func (a *authority) issue(t testing.TB, keys ...*bundle.PrivateKey) {
	t.Helper()
	a.version++
	role := func(k *bundle.PrivateKey) bundle.Role {
		return bundle.Role{Threshold: 1, Keys: []bundle.PublicKey{k.Public()}}
	}
	raw, err := bundle.SignRoot(bundle.Root{
		Version: a.version, Expires: time.Now().Add(24 * time.Hour), Root: role(a.root), Bundles: role(a.bundles), Pointers: role(a.pointers),
	}, keys...)
	if err != nil {
		t.Fatal(err)
	}
	a.roots = append(a.roots, raw)
}

func newPlane(t testing.TB) *plane { return newPlaneOf(t, newAuthority(t)) }

func newPlaneOf(t testing.TB, a *authority) *plane {
	p := &plane{
		t: t, trust: a, changed: make(chan struct{}), pointers: map[string]bundle.SignedPointer{}, issued: map[string]bundle.Pointer{},
		bundles: map[string][]byte{}, fetched: map[string]int{}, receipts: map[string]bundle.Receipt{}, offsets: map[string]uint64{}, chains: map[string][32]byte{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/pointers/watch", p.watch)
	mux.HandleFunc("GET /v1/bundles/{sha}", p.bundle)
	mux.HandleFunc("GET /v1/trust", p.roots)
	mux.HandleFunc("POST /v1/receipts", p.receipt)
	mux.HandleFunc("POST /v1/audit/batches", p.batch)
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		refuse := p.refuse
		p.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+daemonToken {
			problem(w, http.StatusUnauthorized, "unauthorized")
			return
		}
		if refuse != nil {
			if status := refuse(r); status != 0 {
				problem(w, status, "refused_by_test")
				return
			}
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		p.server.CloseClientConnections()
		p.server.Close()
	})
	return p
}

func problem(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"error":%q,"error_description":"said by the test"}`, code)
}

// touch tells everybody who waits that something changed. The caller holds mu.
func (p *plane) touch() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// misbehave installs or removes a refusal.
func (p *plane) misbehave(refuse func(r *http.Request) int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// takeNoAudit installs a refusal of all batches of records.
func (p *plane) takeNoAudit() {
	p.misbehave(func(r *http.Request) int {
		if r.URL.Path == "/v1/audit/batches" {
			return http.StatusServiceUnavailable
		}
		return 0
	})
}

// wait waits until a condition, which is called with mu held, is true.
func (p *plane) wait(what string, holds func() bool) {
	p.t.Helper()
	end := time.After(patience)
	for {
		p.mu.Lock()
		ok, changed := holds(), p.changed
		p.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-end:
			p.mu.Lock()
			defer p.mu.Unlock()
			p.t.Fatalf("waited too long for: %s\nreceipts: %+v\nrecords: %d", what, p.receipts, len(p.records))
		}
	}
}

func (p *plane) watch(w http.ResponseWriter, r *http.Request) {
	var req bundle.WatchRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		problem(w, http.StatusBadRequest, "invalid_body")
		return
	}
	all, some, err := bundle.ParseZones(req.Zones)
	if err != nil {
		problem(w, http.StatusBadRequest, "invalid_body")
		return
	}
	end := time.After(time.Duration(req.WaitSeconds) * time.Second)
	p.mu.Lock()
	p.watches++
	p.have = req.Have
	p.touch()
	p.mu.Unlock()
	for {
		p.mu.Lock()
		var answer bundle.WatchResponse
		for zone, sp := range p.pointers {
			last, watched := some[zone]
			have, held := req.Have[zone]
			if all {
				watched, last = true, -1
				if held {
					last = have.Sequence
				}
			}
			renewed := held && have.Sequence == sp.Sequence && p.issued[zone].IssuedAt.After(have.IssuedAt) && !have.IssuedAt.IsZero()
			if watched && (sp.Sequence > last || renewed) {
				answer.Pointers = append(answer.Pointers, sp)
			}
		}
		changed := p.changed
		answer.SpreadMS = p.spread
		p.mu.Unlock()
		if answer.Pointers != nil {
			_ = json.NewEncoder(w).Encode(answer)
			return
		}
		select {
		case <-changed:
		case <-end:
			w.WriteHeader(http.StatusNoContent)
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (p *plane) bundle(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	data, ok := p.bundles[r.PathValue("sha")]
	p.fetched[r.PathValue("sha")]++
	p.mu.Unlock()
	if !ok {
		problem(w, http.StatusNotFound, "not_found")
		return
	}
	_, _ = w.Write(data)
}

func (p *plane) roots(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = json.NewEncoder(w).Encode(bundle.TrustResponse{Roots: p.trust.roots})
}

func (p *plane) receipt(w http.ResponseWriter, r *http.Request) {
	var report bundle.ReceiptReport
	if err := json.NewDecoder(r.Body).Decode(&report); err != nil || report.DaemonID == "" {
		problem(w, http.StatusBadRequest, "invalid_body")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts = append(p.attempts, report)
	switch {
	case report.Base != "" && !p.builds, p.old && (report.Status != nil || report.Complete):
		problem(w, http.StatusBadRequest, "invalid_body")
		return
	case p.taken:
		problem(w, http.StatusForbidden, "daemon_taken")
		return
	case report.Base != "" && report.Base != p.revision:
		problem(w, http.StatusConflict, "report_base_unknown")
		return
	}
	for _, z := range report.Zones {
		if z.ZoneID == p.unknown {
			problem(w, http.StatusNotFound, "zone_not_found")
			return
		}
	}
	for _, z := range report.Zones {
		p.receipts[z.ZoneID] = z
	}
	p.report = report
	if p.builds {
		p.revision = fmt.Sprint("after ", len(p.attempts))
		w.Header().Set(bundle.RevisionHeader, p.revision)
	}
	p.touch()
	w.WriteHeader(http.StatusNoContent)
}

func (p *plane) batch(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	b, err := audit.DecodeBatch(data, audit.DefaultBatchLimits())
	if err != nil {
		p.t.Errorf("a batch: %v", err)
		problem(w, http.StatusBadRequest, "invalid_batch")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken {
		p.refusedBatches++
		p.touch()
		problem(w, http.StatusForbidden, "daemon_taken")
		return
	}
	for _, r := range b.Records {
		if p.zones != nil && !p.zones[r.ZoneID] {
			problem(w, http.StatusForbidden, "forbidden")
			return
		}
	}
	key := b.DaemonID + "/" + b.Epoch
	next := p.offsets[key]
	if b.First == next && next > 0 && b.PrevHash != p.chains[key] {
		p.t.Error("a batch does not continue the chain")
	}
	taken := 0
	for i, r := range b.Records {
		if b.First+uint64(i) < next {
			continue
		}
		taken++
		p.records = append(p.records, r)
		if r.EventType == audit.EventGap {
			var m struct {
				Count uint64 `json:"count"`
			}
			if err := json.Unmarshal(r.Metadata, &m); err != nil {
				p.t.Errorf("the metadata of a gap: %v", err)
			}
			p.gaps += m.Count
		}
	}
	if b.Next() > next {
		p.offsets[key], p.chains[key] = b.Next(), b.Hash
	}
	p.touch()
	_ = json.NewEncoder(w).Encode(map[string]any{"accepted": taken, "duplicate": len(b.Records) - taken, "next_offset": p.offsets[key]})
}

// version is a published policy-set version.
type version struct {
	zone, set, id, tag string
	packed             *bundle.Packed
	envelope           json.RawMessage
}

// grants is a policy that allows the action read, and says its tag each time.
func grants(tag string) string {
	return fmt.Sprintf(`package caracal.authz

import rego.v1

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "denied", "tag": %[1]q}]}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"tag": %[1]q}]} if {
	input.action.id == "read"
	count(input.context.requested_scopes) == 0
}
`, tag)
}

// publish packs, signs and stores a version of one policy. number makes it
// another manifest.
func (p *plane) publish(zone string, number int, content string) version {
	p.t.Helper()
	set := "set-" + zone
	id := fmt.Sprintf("version-%s-%d", zone, number)
	v := version{zone: zone, set: set, id: id, tag: fmt.Sprint("v", number)}
	if content == "" {
		content = grants(v.tag)
	}
	m := &bundle.Manifest{
		ZoneID: zone, PolicySetID: set, Version: number, EntryPoint: policy.EntryPoint, SchemaVersion: policy.SchemaVersion,
		Policies: []bundle.ManifestPolicy{{PolicyID: "policy-1", PolicyVersionID: "pv-1", Name: "grants", ContentSHA256: bundle.SHA256Hex([]byte(content))}},
	}
	var err error
	if v.packed, err = bundle.Pack(m, []bundle.Module{{PolicyVersionID: "pv-1", Content: []byte(content)}}); err != nil {
		p.t.Fatal(err)
	}
	if v.envelope, err = bundle.SignStatement(v.packed.Statement, p.trust.bundles); err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bundles[v.packed.BundleSHA256] = v.packed.Data
	return v
}

// pointer is the next pointer of a zone, to a version or to nothing.
func (p *plane) pointer(zone string, v *version) bundle.Pointer {
	p.mu.Lock()
	last, ok := p.issued[zone]
	p.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Microsecond)
	next := bundle.Pointer{ZoneID: zone, IssuedAt: now, ExpiresAt: now.Add(time.Hour)}
	if ok {
		next.Sequence = last.Sequence + 1
	}
	if v != nil {
		next.PolicySetID, next.PolicySetVersionID = &v.set, &v.id
		next.ManifestSHA256, next.BundleSHA256, next.BundleSize = v.packed.ManifestSHA256, v.packed.BundleSHA256, int64(len(v.packed.Data))
	}
	return next
}

// signed signs a pointer.
func (p *plane) signed(ptr bundle.Pointer, v *version, keys ...*bundle.PrivateKey) bundle.SignedPointer {
	p.t.Helper()
	if keys == nil {
		keys = []*bundle.PrivateKey{p.trust.pointers}
	}
	env, err := bundle.SignPointer(ptr, keys...)
	if err != nil {
		p.t.Fatal(err)
	}
	sp := bundle.SignedPointer{ZoneID: ptr.ZoneID, Sequence: ptr.Sequence, Pointer: env}
	if v != nil {
		sp.Bundle = v.envelope
	}
	return sp
}

// offer makes a pointer, good or bad, the current one.
func (p *plane) offer(ptr bundle.Pointer, sp bundle.SignedPointer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.issued[ptr.ZoneID], p.pointers[ptr.ZoneID] = ptr, sp
	p.touch()
}

// activate moves a zone's pointer to a version, or to nothing.
func (p *plane) activate(zone string, v *version) bundle.Pointer {
	p.t.Helper()
	ptr := p.pointer(zone, v)
	p.offer(ptr, p.signed(ptr, v))
	return ptr
}

// renew signs a zone's pointer anew, perhaps changed, at the same sequence.
func (p *plane) renew(zone string, v *version, change func(*bundle.Pointer)) bundle.Pointer {
	p.t.Helper()
	p.mu.Lock()
	ptr := p.issued[zone]
	p.mu.Unlock()
	ptr.IssuedAt = ptr.IssuedAt.Add(time.Second)
	if change != nil {
		change(&ptr)
	}
	p.offer(ptr, p.signed(ptr, v))
	return ptr
}

// loaded waits until a daemon reported a zone as loaded at a sequence.
func (p *plane) loaded(zone string, sequence int64) {
	p.t.Helper()
	p.wait(fmt.Sprintf("zone %s to be loaded at sequence %d", zone, sequence), func() bool {
		r := p.receipts[zone]
		return r.State == bundle.ReceiptLoaded && r.Sequence == sequence && r.ServingSequence == sequence
	})
}

// failed waits until a daemon reported that it could not load a sequence.
func (p *plane) failed(zone string, sequence int64) bundle.Receipt {
	p.t.Helper()
	var r bundle.Receipt
	p.wait(fmt.Sprintf("zone %s to fail at sequence %d", zone, sequence), func() bool {
		r = p.receipts[zone]
		return r.State == bundle.ReceiptFailed && r.Sequence == sequence
	})
	return r
}

// record waits for the record of a decision.
func (p *plane) record(decisionID string) audit.Record {
	p.t.Helper()
	var found audit.Record
	p.wait("the record of decision "+decisionID, func() bool {
		for _, r := range p.records {
			if r.ID == decisionID {
				found = r
				return true
			}
		}
		return false
	})
	return found
}

// kept is all records so far, by decision id.
func (p *plane) kept() map[string]audit.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]audit.Record{}
	for _, r := range p.records {
		all[r.ID] = r
	}
	return maps.Clone(all)
}

func writeJSON(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
