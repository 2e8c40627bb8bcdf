package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/bench/workload"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

// Plane configures the role plane.
type Plane struct {
	Policy
	// KeepSpool refuses audit batches, so that records stay with the daemon.
	KeepSpool bool `json:"keep_spool"`
}

// plane hands out one signed pointer for each zone and takes every batch
// unread. It stands for a control plane on another machine, whose work is not
// to be done by the processors that are measured.
func plane(ctx context.Context, config json.RawMessage, ready func(Ready) error) error {
	cfg, err := read[Plane](config)
	if err != nil {
		return err
	}
	w, err := cfg.find()
	if err != nil {
		return err
	}
	key, err := bundle.GenerateKey()
	if err != nil {
		return err
	}
	role := bundle.Role{Threshold: 1, Keys: []bundle.PublicKey{key.Public()}}
	root, err := bundle.SignRoot(bundle.Root{Version: 1, Expires: time.Now().Add(24 * time.Hour), Root: role, Bundles: role, Pointers: role}, key)
	if err != nil {
		return err
	}
	pointers, bundles := map[string]bundle.SignedPointer{}, map[string][]byte{}
	for _, zone := range workload.Zones(max(1, cfg.Zones)) {
		pointer, packed, err := publish(w, zone, key)
		if err != nil {
			return err
		}
		pointers[zone], bundles[packed.BundleSHA256] = pointer, packed.Data
	}
	return standard(ctx, ready, planeHandler(pointers, bundles, cfg.KeepSpool), Ready{Daemon: "bench-daemon-token", Trust: root})
}

// publish signs a workload's policy for a zone.
func publish(w *workload.Workload, zone string, key *bundle.PrivateKey) (bundle.SignedPointer, *bundle.Packed, error) {
	none := bundle.SignedPointer{}
	m := &bundle.Manifest{ZoneID: zone, PolicySetID: "set", Version: 1, SchemaVersion: policy.SchemaVersion}
	var contents []bundle.Module
	for _, mod := range w.Modules {
		m.Policies = append(m.Policies, bundle.ManifestPolicy{PolicyID: mod.Name, PolicyVersionID: mod.Name, Name: mod.Name, ContentSHA256: bundle.SHA256Hex([]byte(mod.Content))})
		contents = append(contents, bundle.Module{PolicyVersionID: mod.Name, Content: []byte(mod.Content)})
	}
	packed, err := bundle.Pack(m, contents)
	if err != nil {
		return none, nil, err
	}
	statement, err := bundle.SignStatement(packed.Statement, key)
	if err != nil {
		return none, nil, err
	}
	set, version, now := "0192f0c1-0000-7000-8000-000000000001", "0192f0c1-0000-7000-8000-000000000002", time.Now().UTC()
	pointer, err := bundle.SignPointer(bundle.Pointer{ZoneID: zone, Sequence: 1, PolicySetID: &set, PolicySetVersionID: &version,
		ManifestSHA256: packed.ManifestSHA256, BundleSHA256: packed.BundleSHA256, BundleSize: int64(len(packed.Data)),
		IssuedAt: now, ExpiresAt: now.Add(24 * time.Hour)}, key)
	return bundle.SignedPointer{ZoneID: zone, Sequence: 1, Pointer: pointer, Bundle: statement}, packed, err
}

func planeHandler(pointers map[string]bundle.SignedPointer, bundles map[string][]byte, keepSpool bool) http.Handler {
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/pointers/watch", func(w http.ResponseWriter, r *http.Request) {
		var req bundle.WatchRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		all, some, err := bundle.ParseZones(req.Zones)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		resp := bundle.WatchResponse{}
		for zone, p := range pointers {
			known, asked := some[zone]
			if held, ok := req.Have[zone]; all && ok {
				known = held.Sequence
			} else if all {
				known, asked = -1, true
			}
			if asked && p.Sequence > known {
				resp.Pointers = append(resp.Pointers, p)
			}
		}
		if len(resp.Pointers) > 0 {
			answer(w, resp)
			return
		}
		select {
		case <-r.Context().Done():
		case <-time.After(time.Duration(req.WaitSeconds) * time.Second):
			w.WriteHeader(http.StatusNoContent)
		}
	})
	mux.HandleFunc("GET /v1/bundles/{hash}", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(bundles[r.PathValue("hash")]) })
	mux.HandleFunc("POST /v1/receipts", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /v1/audit/batches", func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		h, err := audit.DecodeBatchHeader(data)
		switch {
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case keepSpool:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			answer(w, map[string]uint64{"next_offset": h.First + uint64(h.Count)})
		}
	})
	return mux
}
