package console_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// reads allows agents to read, and nothing else.
const reads = `package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "not_listed"}]}

allowed := {"payments:read"}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	input.principal.type == "agent"
	every scope in input.context.requested_scopes { scope in allowed }
}
`

const tests = `package caracal.authz_test

import data.caracal.authz

asks(scope) := {"principal": {"type": "agent"}, "context": {"requested_scopes": [scope]}}

test_reads if authz.result.decision == "allow" with input as asks("payments:refund")

test_nothing_else if authz.result.decision == "deny" with input as asks("payments:refund")
`

// The whole workflow, as a person plays it: from an empty zone to a denial that
// a real daemon made, and on to the version that allows it. Every step is
// reloaded, and gone back to.
func TestWorkflow(t *testing.T) {
	p := newPlant(t)
	b := newTab(t, p.api)
	b.signIn(p.link())
	if strings.Contains(b.address(), "code") {
		t.Errorf("the code is still in the address: %s", b.address())
	}
	zone := "/console/z/" + p.zone
	b.at(zone)
	b.sees("this zone denies everything")
	// A page says the same after it was reloaded, and after one went on and came back.
	steady := func(texts ...string) {
		t.Helper()
		b.sees(texts...)
		b.reload()
		b.sees(texts...)
		here := b.address()
		b.click("link", "Keys")
		b.sees("Trust root")
		b.back()
		b.at(here)
		b.sees(texts...)
	}

	// A policy. What is wrong is marked at its line before anything is kept.
	b.click("link", "1. Write a policy…")
	b.sees("Nothing is governed by it until")
	b.fill("textbox", "Name", "agents")
	b.fill("textbox", "Policy content", strings.Replace(reads, "not_listed\"}]}", "not_listed\"}]", 1))
	b.sees("not valid", "Line ")
	b.fill("textbox", "Policy content", reads)
	b.sees("input.principal.type", "allow, deny")
	b.click("button", "Create policy")
	b.at("/policies/")
	steady("agents", "Content, version 1")

	// Tests beside it, run in place, with what they leave out shown in the margin.
	b.click("button", "Write tests")
	b.click("button", "Run tests")
	b.sees("1 passed", "test_denies_an_empty_request")
	if missed := js[int](b, `document.querySelectorAll(".coverage.missed").length`); missed == 0 {
		t.Error("the margin shows no line that is not tested")
	}
	b.fill("textbox", "Tests", tests)
	b.click("button", "Run tests")
	b.sees("1 of 2 did not pass", `result.decision == "allow"`)
	b.fill("textbox", "Tests", strings.Replace(tests, "payments:refund", "payments:read", 1))
	b.click("button", "Run tests")
	b.sees("2 passed", "100 % of the policy evaluated")
	b.click("button", "Save as version 2")
	b.sees("Version 2 is made")
	steady("Content, version 2", "test_reads")

	// A set of it, and a version of the set.
	b.click("link", "Policy sets")
	b.fill("textbox", "Name", "production")
	b.click("button", "Create policy set")
	b.at("/sets/")
	steady("production", "No version yet")
	b.click("checkbox", "agents")
	b.click("button", "Make version 1")
	b.sees("Version 1 is made and signed")
	steady("✓ valid", "○ simulated", "○ first exchange audited")
	b.click("button", "Check hashes")
	b.sees("Every hash is what it is said to be", "Manifest", "agents, version 2")
	b.click("button", "Close")

	// Simulated, with nobody governed by it.
	b.click("link", "Simulate")
	b.at("/simulate")
	b.choose("Input from", "An agent reads")
	b.click("button", "Simulate")
	b.sees("Nothing speaks against activating it", "Nothing is active: everything is denied")
	b.choose("Input from", "An agent refunds, no step-up")
	b.choose("Expected", "allow")
	b.click("button", "Simulate")
	b.sees("It should not be activated", "not_listed", "Line 9 did not hold: every scope in input.context.requested_scopes")
	b.fill("textbox", "Input", `{"schema_version": "2026-05-20", "principal": {"type": 7}}`)
	b.eventually("what does not fit the schema is marked", func() bool { return js[int](b, `document.querySelectorAll(".cm-lintRange-error").length`) > 0 })
	b.choose("Input from", "An agent refunds, no step-up")
	b.choose("Expected", "no decision")
	b.click("button", "Simulate")
	b.sees("Nothing speaks against activating it")
	b.click("link", "Activate this version")

	// Activated, by its name.
	b.at("/activate")
	steady("new, version 2")
	if b.has("button", "Activate version 1") {
		t.Error("a version can be activated without its name")
	}
	b.fill("textbox", "Type production to confirm", "production")
	b.fill("textbox", "Reason", "first version")
	b.click("button", "Activate version 1")
	b.sees("This version governs the zone", "1 of 1 daemons have loaded the governing version", "sts-node-1")
	steady("first version")

	// Asked by an STS; a denial is found, and explained.
	if a := p.ask("read-1", "payments:read"); a.Decision != "allow" {
		t.Errorf("reading is decided %+v", a)
	}
	if a := p.ask("refund-1", "payments:refund"); a.Decision != "deny" {
		t.Errorf("refunding is decided %+v", a)
	}
	b.click("link", "Overview")
	b.sees("50 % denied", "Daemon by daemon", "sts-node-1")
	b.eventually("the activation is a line on the chart", func() bool {
		return js[int](b, `(() => {
			const probe = document.body.appendChild(document.createElement("i"));
			probe.style.color = "var(--accent)";
			const [r, g, b] = getComputedStyle(probe).color.match(/\d+/g).map(Number);
			probe.remove();
			const canvas = document.querySelector(".chart canvas");
			if (!canvas || !canvas.width) return 0;
			const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
			let of = 0;
			for (let i = 0; i < data.length; i += 4) if (data[i] === r && data[i + 1] === g && data[i + 2] === b && data[i + 3] === 255) of++;
			return of;
		})()`) > 50
	})
	b.click("link", "Policy sets")
	b.click("link", "production")
	b.sees("✓ valid", "✓ simulated", "✓ active", "✓ first exchange audited")
	b.click("link", "Audit")
	b.sees("refund-1", "read-1")
	b.choose("Decision", "deny")
	b.at("decision=deny")
	b.gone("read-1")
	steady("refund-1")
	if file := js[string](b, `fetch([...document.querySelectorAll("a[download]")].find((a) => a.download.endsWith(".csv")).href).then((r) => r.text())`); strings.Count(file, "\n") != 2 || !strings.Contains(file, "refund-1") {
		t.Errorf("the filtered events are exported as %q", file)
	}
	b.click("link", "refund-1")
	steady("Why it was denied", "not_listed", "payments:refund")
	b.back()
	b.at("decision=deny")
	b.sees("refund-1")
	b.click("link", "refund-1")
	b.sees("Why it was denied")
	fix := ""
	b.click("link", "Fix this denial")
	b.at("request=refund-1")
	steady("as it was evaluated", "payments:refund")
	fix = b.address()

	// What was allowed can be tried again, too.
	b.choose("Input from", "read-1")
	b.at("request=read-1")
	b.sees("as it was evaluated", "payments:read")

	// A candidate that allows it: a policy version, a set version.
	b.click("link", "Policies")
	b.click("link", "agents")
	b.sees("Content, version 2")
	b.fill("textbox", "Policy content", strings.Replace(reads, `{"payments:read"}`, `{"payments:read", "payments:refund"}`, 1))
	b.click("button", "Save as version 3")
	b.sees("Version 3 is made")
	b.click("button", "with 2")
	b.at("from=")
	steady("Version 2 beside version 3")
	b.click("link", "Policy sets")
	b.click("link", "production")
	b.click("button", "Make version 2")
	b.sees("Version 2 is made and signed")
	b.click("button", "Compare with 1")
	steady("version 2 → 3", `"payments:refund"`)

	// The very input of the denial, on the candidate, beside the active version.
	b.open(fix)
	b.choose("Version", "2")
	b.choose("Expected", "allow")
	b.click("button", "Simulate")
	b.sees("Nothing speaks against activating it", "The active version")
	b.click("link", "Activate this version")
	steady("version 2 → 3", "1 of 2 decisions flip", "1 becomes allow, 0 become deny")
	b.fill("textbox", "Type production to confirm", "production")
	b.click("button", "Activate version 2")
	b.sees("This version governs the zone", "1 of 1 daemons have loaded the governing version")
	if a := p.ask("refund-2", "payments:refund"); a.Decision != "allow" {
		t.Errorf("after the fix, refunding is decided %+v", a)
	}

	// Rolled back in two clicks.
	b.click("button", "Roll back")
	b.sees("The sequence goes on; nothing is rewritten.")
	b.click("button", "Roll back now")
	b.sees("roll back to activation")
	b.eventually("the daemon decides by the version before", func() bool { return p.ask("refund-3", "payments:refund").Decision == "deny" })

	// Signed out: the cookie is worth nothing, wherever one goes.
	b.click("button", "Sign out")
	b.sees("Or sign in with a token")
	b.open(zone + "/audit")
	b.sees("Or sign in with a token")
	b.back()
	b.sees("Or sign in with a token")
}

// Two people look at one zone: an activation by one is seen by the other.
func TestTwoBrowsersSeeAnActivation(t *testing.T) {
	p := newPlant(t)
	set, version := p.publish("agents", reads)
	a, b := newTab(t, p.api), newTab(t, p.api)
	activate := "/console/z/" + p.zone + "/activate"
	for _, one := range []*tab{a, b} {
		one.signIn(p.link())
		one.open(activate)
		one.sees("new, version 1")
	}
	overview := newTab(t, p.api)
	overview.signIn(p.link())
	overview.sees("this zone denies everything")
	a.fill("textbox", "Type "+set.Name+" to confirm", set.Name)
	a.fill("textbox", "Reason", "seen by both")
	a.click("button", "Activate version 1")
	a.sees("seen by both")
	b.sees("This version governs the zone", "seen by both", "1 of 1 daemons have loaded the governing version")
	overview.sees("seen by both")
	overview.gone("this zone denies everything")

	// One who looks at what governed a while ago is told, and nothing is activated.
	more, second := p.publish("more", strings.ReplaceAll(reads, "allowed", "listed"))
	stale := newTab(t, p.api)
	stale.signIn(p.link())
	stale.open(activate + "?" + url.Values{"set": {more.ID}, "version": {second.ID}}.Encode())
	stale.fill("textbox", "Type more to confirm", "more")
	stale.sees("--expect-active " + version.ID)
	call(stale, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: []*network.BlockPattern{{URLPattern: p.api + "/v1/zones/*/active", Block: true}}})
	p.caracal("policy-set", "activate", "more", second.ID)
	stale.click("button", "Activate version 1")
	stale.sees("Somebody activated another version meanwhile")
}

// A wrong token says so, and leaves nothing behind.
func TestWrongToken(t *testing.T) {
	p := newPlant(t)
	b := newTab(t, p.api)
	b.open("/console/")
	b.sees("Or sign in with a token")
	b.fill("textbox", "Or sign in with a token", "no-such-token")
	b.click("button", "Sign in")
	b.sees("a valid bearer token is required")
	b.fill("textbox", "Or sign in with a token", p.token)
	b.press(kb.Enter)
	b.sees("Sign out")
	if kept := js[string](b, `JSON.stringify([document.cookie, Object.entries(localStorage), Object.entries(sessionStorage), location.href])`); strings.Contains(kept, p.token) {
		t.Errorf("the token is where scripts and people see it: %s", kept)
	}

	// A link works once.
	link := p.link()
	first, second := newTab(t, p.api), newTab(t, p.api)
	first.signIn(link)
	second.open(link)
	second.sees("the link was used already")
}

// The control plane goes away and comes back: the console says so, and goes on.
func TestControlPlaneGoesAway(t *testing.T) {
	p := newPlant(t)
	p.activate("agents", reads)
	b := newTab(t, p.api)
	b.signIn(p.link())
	b.open("/console/z/" + p.zone + "/audit")
	b.sees("live")
	p.ask("before", "payments:read")
	b.sees("before")
	p.admin.kill()
	b.sees("live tail lost")
	p.ask("meanwhile", "payments:read") // the daemon decides on, and keeps the record
	b.click("link", "Policies")
	b.sees("The control plane does not answer")
	p.admin.start()
	p.waitReady(p.api)
	b.gone("The control plane does not answer")
	b.sees("agents")
	b.click("link", "Audit")
	b.sees("before", "meanwhile")
	p.ask("after", "payments:read")
	b.sees("after")
}

// The editor completes what is written, begins with templates, and says what is wrong while one writes.
func TestEditor(t *testing.T) {
	p := newPlant(t)
	b := newTab(t, p.api)
	b.signIn(p.link())
	b.open("/console/z/" + p.zone + "/policies/new")
	b.sees("Decides")
	templates, err := p.client.Templates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range templates {
		b.choose("Begin with a template", one.Name)
		b.eventually("the template "+one.Name+" is in the editor, and valid", func() bool {
			return strings.Contains(b.text(), strings.SplitN(one.Content, "\n", 2)[0]) && b.has("heading", "What it does") && strings.Contains(b.text(), "valid") && !strings.Contains(b.text(), "not valid")
		})
	}
	b.fill("textbox", "Policy content", reads+"\nanother if input.principal.")
	b.write("lab")
	b.eventually("fields of the input are offered", func() bool {
		return js[bool](b, `[...document.querySelectorAll(".cm-tooltip-autocomplete li")].some((li) => li.textContent.startsWith("input.principal.labels"))`)
	})
	b.click("option", "input.principal.labels…")
	b.eventually("the field is taken", func() bool { return strings.Contains(b.text(), "input.principal.labels") })
	b.write("\n\nlast := nothing_of_this_name\n")
	b.sees("not valid", "Line 14:")
	marked := js[string](b, `(() => { const mark = document.querySelector(".cm-lintRange-error"); return mark ? mark.closest(".cm-line").textContent : "" })()`)
	if !strings.Contains(marked, "nothing_of_this_name") {
		t.Errorf("what is marked as wrong is %q", marked)
	}
}

// All of it works by the keyboard.
func TestKeyboard(t *testing.T) {
	p := newPlant(t)
	p.activate("agents", reads)
	b := newTab(t, p.api)
	b.signIn(p.link())
	// The policies come last, and stand first all the same.
	js[bool](b, `(() => {
		const fetch = window.fetch, policies = new Promise((release) => { window.release = release; });
		window.fetch = async (...request) => {
			if (new URL(request[0].url ?? request[0], location.href).pathname.endsWith("/policies")) await policies;
			return fetch(...request);
		};
		return true;
	})()`)
	b.press("k", chromedp.ModifierCtrl)
	b.find("combobox", "Page, policy, policy set or request id")
	b.write("agents policy")
	b.sees("Looking…")
	b.press(kb.Enter)
	js[bool](b, `window.release(), true`)
	b.sees("policy set")
	b.press(kb.Enter)
	b.sees("Content, version 1")
	b.press("k", chromedp.ModifierCtrl)
	b.find("combobox", "Page, policy, policy set or request id")
	b.write("fleet")
	b.press(kb.Enter)
	b.at("/fleet")
	b.sees("sts-node-1")
	b.press("k", chromedp.ModifierCtrl)
	b.find("combobox", "Page, policy, policy set or request id")
	b.press(kb.Escape)
	b.eventually("Escape closes the palette", func() bool { return !b.has("combobox", "Page, policy, policy set or request id") })
	b.reload()
	b.sees("sts-node-1")
	b.press(kb.Tab)
	if at := js[string](b, `document.activeElement.textContent`); at != "Skip to the page" {
		t.Errorf("the first stop of the Tab key is %q", at)
	}
	b.press(kb.Enter)
	if at := js[string](b, `document.activeElement.id`); at != "main" {
		t.Errorf("skipping leads to %q", at)
	}
	b.press("/")
	b.fill("combobox", "Page, policy, policy set or request id", "gaps")
	b.press(kb.Enter)
	b.at("/audit?event_type=audit_gap")
}
