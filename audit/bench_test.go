package audit_test

import (
	"testing"

	"github.com/caracalai/caracald/audit"
)

// benchRecord is of the size of a usual decision.
func benchRecord() *audit.Record {
	r := testRecord(1)
	r.ID, r.RequestID = "0193a6c0-7b1e-7c3a-9f00-000000000001", "0193a6c0-7b1e-7c3a-9f00-000000000002"
	r.PolicySetID, r.PolicySetVersionID = "0193a6c0-7b1e-7c3a-9f00-000000000003", "0193a6c0-7b1e-7c3a-9f00-000000000004"
	r.ManifestSHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	r.BundleSHA256 = "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
	r.DeterminingPolicies = []byte(`[{"policy":"payments","policy_id":"0193a6c0-7b1e-7c3a-9f00-000000000005","policy_version_id":"0193a6c0-7b1e-7c3a-9f00-000000000006"}]`)
	r.Diagnostics = []byte(`[]`)
	r.Metadata = []byte(`{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}`)
	r.Input = []byte(`{"schema_version":"2026-05-20","principal":{"type":"agent","id":"agent-1","zone_id":"payments","labels":["prod"]},"resource":{"type":"account","id":"acc-1","identifier":"acc-1","scopes":["read","transfer"]},"action":{"id":"transfer","method":"POST","path":"/v1/transfers"},"session":{"id":"s-1"},"delegation_edge":null,"context":{"actor_claims":{"sub":"agent-1"},"challenge_resolved":true,"requested_scopes":["transfer"]}}`)
	return r
}

func BenchmarkAppendRecord(b *testing.B) {
	r, buf := benchRecord(), []byte(nil)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = audit.AppendRecord(buf[:0], r); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodeRecord(b *testing.B) {
	data, err := audit.AppendRecord(nil, benchRecord())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := audit.DecodeRecord(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSpoolAppend(b *testing.B) {
	for _, c := range []struct {
		name        string
		durability  audit.Durability
		parallelism int
	}{
		{"SyncGroup/1", audit.SyncGroup, 0},
		{"SyncGroup/64", audit.SyncGroup, 64},
		{"SyncGroup/512", audit.SyncGroup, 512},
		{"SyncNone/1", audit.SyncNone, 0},
		{"SyncNone/64", audit.SyncNone, 64},
		{"SyncNone/512", audit.SyncNone, 512},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, err := audit.OpenSpool(audit.SpoolOptions{Dir: b.TempDir(), Durability: c.durability, MaxBytes: 16 << 30})
			if err != nil {
				b.Fatal(err)
			}
			r := benchRecord()
			b.ReportAllocs()
			if c.parallelism == 0 {
				for b.Loop() {
					if err := s.Append(r); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				b.SetParallelism(c.parallelism / 2)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := s.Append(r); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			b.StopTimer()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
