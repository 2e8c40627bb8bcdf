package mirror

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caracalai/caracald/bundle"
)

// FuzzWatch: whatever a daemon sends, it is a request within the bounds or a 400.
func FuzzWatch(f *testing.F) {
	for _, seed := range []string{`{"zones":"*"}`, `{"zones":{"z1":-1},"have":{"z1":{"sequence":1,"issued_at":"2026-05-20T00:00:00Z"}},"wait_seconds":60}`, `{"zones":{}}`, `[]`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, all, some, p := readWatch(body)
		if p != nil {
			if p.status != 400 || p.Code == "" || p.Description == "" {
				t.Fatalf("refused with %+v", p)
			}
			return
		}
		if all == (len(some) > 0) || req.WaitSeconds < 0 || req.WaitSeconds > maxWait {
			t.Fatalf("%s is taken as %+v %t %v", body, req, all, some)
		}
		for zone := range some {
			if !bundle.ValidID(zone) {
				t.Fatalf("%q is taken as a zone", zone)
			}
		}
	})
}

// FuzzGrants: kept grants that are read are well-formed, and are read the same
// when they are written again.
func FuzzGrants(f *testing.F) {
	f.Add([]byte(`{"grants":{"` + strings.Repeat("0a", 32) + `":{"zones":["z1"],"at":"2026-05-20T00:00:00Z"}}}`))
	f.Add([]byte(`{"grants":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parseGrants(data)
		if err != nil {
			return
		}
		kept := keptGrants{Grants: map[string]keptGrant{}}
		for hash, g := range all {
			k := keptGrant{At: g.at}
			for zone := range g.zones {
				k.Zones = append(k.Zones, zone)
			}
			kept.Grants[hash] = k
		}
		again, err := json.Marshal(kept)
		if err != nil {
			t.Skip() // a time that JSON cannot hold
		}
		if same, err := parseGrants(again); err != nil || len(same) != len(all) {
			t.Fatalf("%s is read as %v, then as %v: %v", data, all, same, err)
		}
	})
}

// FuzzPointer: a kept pointer is of the zone that it is kept as.
func FuzzPointer(f *testing.F) {
	f.Add([]byte(`{"zone_id":"z1","sequence":3,"pointer":{"payload":"e30="},"bundle":null}`), "z1")
	f.Fuzz(func(t *testing.T, data []byte, id string) {
		p, err := parsePointer(data, id)
		if err == nil && p.ZoneID != id {
			t.Fatalf("%s is taken for %q", data, id)
		}
		bundle.ClaimedIssue(p.Pointer)
	})
}

// FuzzRoots: trust roots that nobody pinned are never followed.
func FuzzRoots(f *testing.F) {
	f.Add([]byte(`{"roots":[{"signed":{},"signatures":[]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		trust, err := followRoots(data, nil, bundle.SHA256Hex([]byte("none has this hash")))
		if err == nil {
			t.Fatalf("%s is trusted as version %d", data, trust.Version())
		}
	})
}
