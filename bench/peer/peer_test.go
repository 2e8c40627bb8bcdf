package peer_test

import (
	"testing"

	"github.com/caracalai/caracald/bench/peer"
	"github.com/caracalai/caracald/bench/workload"
)

func TestPeersAgree(t *testing.T) {
	names := []string{"A", "B10", "B1000", "rbac", "claims", "network", "admission", "statements"}
	want := map[string]int{"A": 4, "B10": 4, "B1000": 4, "rbac": 4, "claims": 4, "network": 4, "admission": 3, "statements": 4}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			w := workload.Find(name)
			peers, err := peer.New(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			if len(peers) != want[name] {
				t.Errorf("%d peers, want %d", len(peers), want[name])
			}
			if err := peer.Agree(w, peers, 1, 500); err != nil {
				t.Error(err)
			}
		})
	}
}

// Peers that do not decide alike are found out.
func TestAgreeFindsDisagreement(t *testing.T) {
	a, rules := workload.Find("A"), workload.Find("B10")
	peers, err := peer.New(t.Context(), rules)
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.Agree(a, peers, 1, 500); err == nil {
		t.Error("the policy of another workload agrees")
	}
}
