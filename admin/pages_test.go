package admin_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
)

// everyList makes at least five rows in every list, all at one instant, and gives the
// lists' paths.
func everyList(t *testing.T) (*plane, []string, func(i int)) {
	frozen := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	p := newPlane(t, func(cfg *admin.Config) { cfg.Now = func() time.Time { return frozen } })
	zone := p.zone("zone 0")
	set := p.set(zone, "set 0")
	version := p.policy(zone, "policy 0", denyAll).VersionID
	v := p.version(set, version)
	p.activateVersion(set, v.ID) // beside the zone's creation
	p.createToken(api.TokenCreate{Name: "token 0", Roles: []string{"viewer"}})
	more := func(i int) {
		p.zone(fmt.Sprint("zone ", i))
		p.policy(zone, fmt.Sprint("policy ", i), denyAll)
		p.set(zone, fmt.Sprint("set ", i))
		p.version(set, version)
		p.activateVersion(set, v.ID)
		p.createToken(api.TokenCreate{Name: fmt.Sprint("token ", i), Roles: []string{"viewer"}})
	}
	for i := range 4 {
		more(i + 1)
	}
	in := "/v1/zones/" + zone
	return p, []string{"/v1/zones", in + "/policies", in + "/policy-sets", set + "/versions", in + "/activations", "/v1/tokens", in + "/admin-audit", "/v1/admin-audit"}, more
}

// rows walks through a list page by page and gives the ids; between is called
// after each page.
func (p *plane) rows(path string, limit int, between func()) []string {
	p.t.Helper()
	var ids []string
	cursor := ""
	for {
		q := url.Values{"limit": {fmt.Sprint(limit)}}
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		page := must[api.Page[map[string]json.RawMessage]](p, 200, "GET", path+"?"+q.Encode(), root, nil)
		if len(page.Items) > limit || len(page.Items) < limit && page.NextCursor != nil {
			p.t.Fatalf("%s: a page of %d has %d items, and next %v", path, limit, len(page.Items), page.NextCursor)
		}
		for _, item := range page.Items {
			var id string
			if err := json.Unmarshal(item["id"], &id); err != nil {
				p.t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if page.NextCursor == nil {
			return ids
		}
		cursor = *page.NextCursor
		between()
	}
}

func TestPagesNeitherSkipNorRepeat(t *testing.T) {
	p, lists, more := everyList(t)
	made := 100
	for _, path := range lists {
		whole := p.rows(path, 500, func() { t.Errorf("%s has more than a page", path) })
		if len(whole) < 5 {
			t.Fatalf("%s has %d rows", path, len(whole))
		}
		if !slices.IsSortedFunc(whole, func(a, b string) int { return -compareIDs(a, b) }) {
			t.Errorf("%s is not newest first: %v", path, whole)
		}
		for _, limit := range []int{1, 2, len(whole) - 1, len(whole), len(whole) + 1} {
			if got := p.rows(path, limit, func() {}); !slices.Equal(got, whole) {
				t.Errorf("%s by %d has %v, at once %v", path, limit, got, whole)
			}
		}
		// What is added meanwhile is newer, and comes into no later page.
		if got := p.rows(path, len(whole)/2+1, func() { made++; more(made) }); !slices.Equal(got, whole) {
			t.Errorf("%s has %v while rows are added, before %v", path, got, whole)
		}
	}
}

// compareIDs orders UUIDv7 by the time and order of their making.
func compareIDs(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestBadPages(t *testing.T) {
	p, lists, _ := everyList(t)
	for _, path := range lists {
		for _, query := range []string{"limit=0", "limit=-1", "limit=501", "limit=many", "limit=1.5", "limit=99999999999999999999", "cursor=%00", "cursor=!", "cursor=" + base64.RawURLEncoding.EncodeToString([]byte("!"))} {
			p.refused(p.call("GET", path+"?"+query, root, nil), 400, "invalid_query")
		}
	}
}
