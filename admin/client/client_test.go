package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/admin/store/sqlite"
)

// Every method does against a control plane what it says.
func TestTheWholeWay(t *testing.T) {
	c, _ := plane(t)
	ctx := t.Context()
	zone := must[api.Zone](t)(c.CreateZone(ctx, api.ZoneCreate{Name: "payments"}))
	if again := must[api.Zone](t)(c.Zone(ctx, zone.ID)); again.ID != zone.ID {
		t.Errorf("read %+v", again)
	}
	renamed := must[api.Zone](t)(c.UpdateZone(ctx, zone.ID, api.ZoneUpdate{Settings: &api.ZoneSettings{RetentionDays: 7}}))
	if renamed.Settings.RetentionDays != 7 {
		t.Errorf("updated to %+v", renamed)
	}
	if v, err := c.Validate(ctx, content); err != nil || len(v.Preview.InputsReferenced) != 0 {
		t.Errorf("validated %+v, %v", v, err)
	}
	var answer *client.Error
	if _, err := c.Validate(ctx, "package"); !errors.As(err, &answer) || len(answer.Errors) == 0 || answer.Errors[0].Location.Row != 1 {
		t.Errorf("validating what does not parse: %v", err)
	}
	tests := api.TestRequest{Content: content, Tests: "package caracal.authz_test\n\ntest_denies if data.caracal.authz.result.decision == \"deny\"\n"}
	if r, err := c.TestPolicy(ctx, tests); err != nil || r.Passed != 1 || len(r.Results) != 1 || r.Results[0].Name != "test_denies" {
		t.Errorf("tested %+v, %v", r, err)
	}
	tests.Tests = "package"
	if _, err := c.TestPolicy(ctx, tests); !errors.Is(err, client.ErrInvalid) || !errors.As(err, &answer) || len(answer.Errors) == 0 || answer.Errors[0].File != "policy_test.rego" {
		t.Errorf("testing with what does not parse: %v", err)
	}
	if list, err := c.Templates(ctx); err != nil || len(list) < 5 {
		t.Errorf("templates: %d, %v", len(list), err)
	}
	for name, read := range map[string]func(context.Context) (json.RawMessage, error){"input schema": c.InputSchema, "OpenAPI": c.OpenAPI} {
		if raw, err := read(ctx); err != nil || !json.Valid(raw) {
			t.Errorf("%s: %v", name, err)
		}
	}
	pol := must[api.Policy](t)(c.CreatePolicy(ctx, zone.ID, api.PolicyCreate{Name: "baseline", Content: content}))
	second := must[api.PolicyVersion](t)(c.AddPolicyVersion(ctx, zone.ID, pol.ID, api.PolicyVersionCreate{Content: content + "# changed\n"}))
	if v := must[api.PolicyVersion](t)(c.PolicyVersion(ctx, zone.ID, pol.ID, second.ID)); v.Content != content+"# changed\n" {
		t.Errorf("read %+v", v)
	}
	if p := must[api.Policy](t)(c.Policy(ctx, zone.ID, pol.ID)); p.Name != "baseline" {
		t.Errorf("read %+v", p)
	}
	if page := must[api.Page[api.Policy]](t)(c.Policies(ctx, zone.ID, client.Page{})); len(page.Items) != 1 {
		t.Errorf("listed %+v", page)
	}
	set := must[api.PolicySet](t)(c.CreatePolicySet(ctx, zone.ID, api.PolicySetCreate{Name: "main"}))
	version := must[api.PolicySetVersion](t)(c.AddSetVersion(ctx, zone.ID, set.ID, second.ID))
	if v := must[api.PolicySetVersion](t)(c.SetVersion(ctx, zone.ID, set.ID, version.ID)); v.ManifestSHA256 != version.ManifestSHA256 {
		t.Errorf("read %+v", v)
	}
	if page := must[api.Page[api.PolicySetVersion]](t)(c.SetVersions(ctx, zone.ID, set.ID, client.Page{})); len(page.Items) != 1 {
		t.Errorf("listed %+v", page)
	}
	if sim := must[api.Simulation](t)(c.Simulate(ctx, zone.ID, set.ID, api.SimulateRequest{VersionID: version.ID})); !sim.WouldActivate {
		t.Errorf("simulated %+v", sim)
	}
	input := json.RawMessage(fmt.Sprintf(`{"schema_version": "2026-05-20", "principal": {"type": "agent", "id": "a", "zone_id": %q}, "resource": {"type": "service", "id": "r", "identifier": "urn:r", "scopes": []},
		"action": {"id": "read"}, "context": {"actor_claims": {}, "challenge_resolved": false, "requested_scopes": []}}`, zone.ID))
	if sim := must[api.Simulation](t)(c.Simulate(ctx, zone.ID, set.ID, api.SimulateRequest{VersionID: version.ID, Input: input, Trace: true})); sim.Trace == nil || len(sim.Trace.Rules) == 0 || !sim.Trace.Rules[0].Held {
		t.Errorf("traced %+v", sim)
	}
	activated := must[api.Activated](t)(c.Activate(ctx, zone.ID, set.ID, api.ActivateRequest{VersionID: version.ID}))
	if now := must[api.Active](t)(c.Active(ctx, zone.ID)); now.PolicySetVersionID == nil || *now.PolicySetVersionID != version.ID || now.Sequence != 1 {
		t.Errorf("active is %+v", now)
	}
	if page := must[api.Page[api.Activation]](t)(c.Activations(ctx, zone.ID, client.Page{})); len(page.Items) != 2 || page.Items[0].Sequence != 1 { // the other made the zone
		t.Errorf("activations %+v", page)
	}
	status := must[api.ActivationStatus](t)(c.ActivationStatus(ctx, zone.ID, set.ID, version.ID, activated.OutboxID))
	if status.Daemons != (api.DaemonCounts{}) {
		t.Errorf("status %+v", status)
	}
	if data, err := c.Bundle(ctx, version.BundleSHA256); err != nil || len(data) == 0 {
		t.Errorf("bundle: %d bytes, %v", len(data), err)
	}
	if raw, err := c.BundleEnvelope(ctx, version.BundleSHA256); err != nil || !json.Valid(raw) {
		t.Errorf("envelope: %s, %v", raw, err)
	}
	if trust, err := c.Trust(ctx); err != nil || len(trust.Roots) == 0 {
		t.Errorf("trust: %+v, %v", trust, err)
	}
	made := must[api.TokenCreated](t)(c.CreateToken(ctx, api.TokenCreate{Name: "viewer", Roles: []string{"viewer"}}))
	if page := must[api.Page[api.Token]](t)(c.Tokens(ctx, client.Page{})); !slices.ContainsFunc(page.Items, func(x api.Token) bool { return x.ID == made.ID }) {
		t.Errorf("tokens %+v", page)
	}
	viewer, err := client.New(c.BaseURL(), made.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if who := must[api.WhoAmI](t)(viewer.WhoAmI(ctx)); fmt.Sprint(who.Roles) != "[viewer]" {
		t.Errorf("the token is of %+v", who)
	}
	if _, err := viewer.CreateZone(ctx, api.ZoneCreate{Name: "no"}); !errors.Is(err, client.ErrForbidden) {
		t.Errorf("a viewer created a zone: %v", err)
	}
	if err := c.RevokeToken(ctx, made.ID); err != nil {
		t.Error(err)
	}
	if _, err := viewer.WhoAmI(ctx); !errors.Is(err, client.ErrUnauthorized) {
		t.Errorf("a revoked token: %v", err)
	}
	if page := must[api.Page[api.AdminEvent]](t)(c.AdminAudit(ctx, zone.ID, client.AdminAuditQuery{}, client.Page{})); len(page.Items) < 5 {
		t.Errorf("the admin audit has %d entries", len(page.Items))
	}
	if page := must[api.Page[api.Daemon]](t)(c.Daemons(ctx, zone.ID, client.Page{})); len(page.Items) != 0 {
		t.Errorf("daemons %+v", page)
	}
	if page := must[api.Page[api.Event]](t)(c.Audit(ctx, zone.ID, client.AuditQuery{}, client.Page{})); len(page.Items) != 0 {
		t.Errorf("audit %+v", page)
	}
	if _, err := c.Explain(ctx, zone.ID, "no-such-request"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("explaining nothing: %v", err)
	}
	if err := c.DeletePolicySet(ctx, zone.ID, set.ID); err != nil {
		t.Error(err)
	}
	if err := c.DeletePolicy(ctx, zone.ID, pol.ID); err != nil {
		t.Error(err)
	}
	if err := c.DeleteZone(ctx, zone.ID); err != nil {
		t.Error(err)
	}
	if _, err := c.Zone(ctx, zone.ID); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("a deleted zone: %v", err)
	}
}

// All gives each item once, in order, asks for no page too many, and passes on
// the error of one.
func TestAllPages(t *testing.T) {
	c, f := plane(t)
	for i := range 7 {
		must[api.Zone](t)(c.CreateZone(t.Context(), api.ZoneCreate{Name: fmt.Sprint("zone ", i)}))
	}
	f.asked()
	three := func(ctx context.Context, at client.Page) (api.Page[api.Zone], error) {
		at.Limit = 3
		return c.Zones(ctx, at)
	}
	var names []string
	for zone, err := range client.All(t.Context(), three) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, zone.Name)
	}
	if fmt.Sprint(names) != "[zone 6 zone 5 zone 4 zone 3 zone 2 zone 1 zone 0]" || len(f.asked()) != 3 {
		t.Errorf("listed %q", names)
	}
	for range client.All(t.Context(), three) {
		break
	}
	if n := len(f.asked()); n != 1 {
		t.Errorf("one item took %d calls", n)
	}
	items, failures := 0, 0
	for _, err := range client.All(t.Context(), three) {
		if err != nil {
			failures++
			continue
		}
		if items++; items == 1 {
			f.fail(answered(403, `{"error":"forbidden"}`))
		}
	}
	if items != 3 || failures != 1 {
		t.Errorf("%d items, %d errors", items, failures)
	}
}

// A tail that loses its connection is taken up after the last event it gave; one
// that is refused ends with the refusal.
func TestTailIsTakenUp(t *testing.T) {
	c, f := plane(t)
	zone := must[api.Zone](t)(c.CreateZone(t.Context(), api.ZoneCreate{Name: "one"}))
	event := func(id string) string {
		return "id: " + id + "\ndata: {\"id\":\"" + id + "\"}\n\n"
	}
	f.fail(answered(200, event("a")+event("b")+"id: c\ndata: {\"id\":"), broken, answered(503, "{}"), answered(200, ": a comment\n\n"+event("c")), answered(403, `{"error":"forbidden"}`))
	var got []string
	var failure error
	for e, err := range c.Tail(t.Context(), zone.ID, client.TailQuery{}) {
		if err != nil {
			failure = err
			continue
		}
		got = append(got, e.ID)
	}
	if fmt.Sprint(got) != "[a b c]" || !errors.Is(failure, client.ErrForbidden) {
		t.Errorf("got %q, then %v", got, failure)
	}
	if after := f.last.Get("Last-Event-ID"); after != "c" {
		t.Errorf("taken up after %q", after)
	}
}

// A zone's first policy, from writing to activation.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "caracal")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	st, err := sqlite.Open(ctx, dir, sqlite.Options{})
	if err != nil {
		panic(err)
	}
	defer func() { _ = st.Close() }()
	keys, err := admin.LoadOrCreateKeys(ctx, st, time.Now())
	if err != nil {
		panic(err)
	}
	server, err := admin.New(ctx, admin.Config{Store: st, Keys: keys, BootstrapToken: token})
	if err != nil {
		panic(err)
	}
	web := httptest.NewServer(server.Handler())
	defer web.Close()

	c, err := client.New(web.URL, token)
	if err != nil {
		panic(err)
	}
	zone, err := c.CreateZone(ctx, api.ZoneCreate{Name: "payments"})
	if err != nil {
		panic(err)
	}
	pol, err := c.CreatePolicy(ctx, zone.ID, api.PolicyCreate{Name: "baseline", Content: content})
	if err != nil {
		panic(err)
	}
	set, err := c.CreatePolicySet(ctx, zone.ID, api.PolicySetCreate{Name: "payments"})
	if err != nil {
		panic(err)
	}
	version, err := c.AddSetVersion(ctx, zone.ID, set.ID, pol.VersionID)
	if err != nil {
		panic(err)
	}
	sim, err := c.Simulate(ctx, zone.ID, set.ID, api.SimulateRequest{VersionID: version.ID})
	if err != nil {
		panic(err)
	}
	if _, err := c.Activate(ctx, zone.ID, set.ID, api.ActivateRequest{VersionID: version.ID}); err != nil {
		panic(err)
	}
	active, err := c.Active(ctx, zone.ID)
	if err != nil {
		panic(err)
	}
	fmt.Println(sim.WouldActivate, active.Sequence, *active.PolicySetVersionID == version.ID)
	// Output: true 1 true
}
