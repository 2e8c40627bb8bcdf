package admin_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/caracalai/caracald/admin/api"
)

// More versions than are kept compiled are simulated at once, again and again:
// each is answered by its own policies.
func TestManyVersionsAreSimulatedEachByItsOwn(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	set := p.set(zone, "main")
	const versions = 40
	content := func(i int) string {
		return fmt.Sprintf(`package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "version_%d"}]}
`, i)
	}
	ids := make([]string, versions)
	for i, id := range p.stored(zone, versions, content) {
		ids[i] = p.version(set, id).ID
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for n := range 2 * versions {
				i := (n*7 + worker*11) % versions
				a, err := p.try(t.Context(), "POST", set+"/simulate", root, api.SimulateRequest{VersionID: ids[i], Input: inputOf(zone, "read")})
				if err != nil {
					t.Error(err)
					return
				}
				if want := fmt.Sprintf(`"diagnostics":[{"reason":"version_%d"}]`, i); a.status != 200 || !bytes.Contains(a.body, []byte(want)) {
					t.Errorf("version %d: %d %s", i, a.status, a.body)
				}
			}
		})
	}
	wg.Wait()
}
