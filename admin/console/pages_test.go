package console_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/runtime"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/internal/provision"
)

// place is one page, how people reach it, and what it shows once it is there.
type place struct{ name, path, shows string }

// Every page, in light and dark, narrow and wide: no serious finding of axe-core,
// nothing that sticks out sideways, a picture for people; and every command that
// a page shows is one that the command line has.
func TestPages(t *testing.T) {
	axe := readAxe(t)
	p := newPlant(t)
	b := newTab(t, p.api)
	b.open("/console/")
	b.sees("Or sign in with a token")
	b.judge(axe, "sign-in")
	b.signIn(p.link())
	zone := "/console/z/" + p.zone
	for _, empty := range []place{
		{"empty-overview", zone, "this zone denies everything"}, {"empty-policies", zone + "/policies", "No policy yet"}, {"empty-sets", zone + "/sets", "No policy set yet"},
		{"empty-simulate", zone + "/simulate", "Nothing to simulate yet"}, {"empty-activate", zone + "/activate", "Nothing to activate yet"}, {"empty-audit", zone + "/audit", "No decision yet"},
	} {
		b.open(empty.path)
		b.sees(empty.shows)
		b.judge(axe, empty.name)
	}

	set, one := p.activate("production", reads)
	policies := p.policies()
	edited, err := p.client.AddPolicyVersion(t.Context(), p.zone, policies[0].ID, api.PolicyVersionCreate{Content: strings.Replace(reads, `{"payments:read"}`, `{"payments:read", "payments:list"}`, 1)})
	if err != nil {
		t.Fatal(err)
	}
	two, err := p.client.AddSetVersion(t.Context(), p.zone, set.ID, edited.ID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		p.ask(fmt.Sprintf("exchange-%d", i), []string{"payments:read", "payments:read", "payments:refund"}[i%3])
	}
	b.open(zone + "/audit?request_id=exchange-39")
	b.eventually("the last decision is in the audit", func() bool {
		if strings.Contains(b.text(), "Nothing matches") {
			b.reload()
		}
		return b.has("link", "exchange-39")
	})
	b.open(zone + "/sets/" + set.ID)
	places := []place{
		{"overview", zone, "Daemon by daemon"},
		{"policies", zone + "/policies", "Newest version"},
		{"policy-new", zone + "/policies/new", "What it does"},
		{"policy", zone + "/policies/" + policies[0].ID, "input.principal.type"},
		{"policy-compared", zone + "/policies/" + policies[0].ID + "?from=" + policies[0].Version.ID + "&to=" + edited.ID, "Version 1 beside version 2"},
		{"sets", zone + "/sets", "governs the zone"},
		{"set", zone + "/sets/" + set.ID, "Compose a version"},
		{"set-compared", zone + "/sets/" + set.ID + "?from=" + one.ID + "&to=" + two.ID, "version 1 → 2"},
		{"simulate", zone + "/simulate?request=exchange-2&version=" + two.ID, "as it was evaluated"},
		{"activate", zone + "/activate?version=" + two.ID, "1 of 1 daemons have loaded"},
		{"audit", zone + "/audit", "live"},
		{"request", zone + "/audit/exchange-2", "Why it was denied"},
		{"fleet", zone + "/fleet", "sts-node-1"},
		{"tokens", zone + "/tokens", "sts-node-1"},
		{"keys", zone + "/keys", "Trust root, version 1"},
		{"admin-audit", zone + "/admin-audit", "policy_set.activate"},
		{"zones", "/console/zones", "production version 1"},
		{"nowhere", zone + "/nowhere", "There is nothing here"},
	}
	known := map[string]bool{}
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			b.t = t
			for _, scheme := range []string{"light", "dark"} {
				b.prefers(scheme)
				b.size(1280, 900)
				b.open(at.path)
				b.sees(at.shows)
				if at.name == "simulate" {
					b.click("button", "Simulate")
					b.sees("The active version")
				}
				b.judge(axe, at.name+"-"+scheme)
			}
			for width, height := range map[int64]int64{360: 740, 3840: 2160} {
				b.size(width, height)
				b.settled()
				b.fits(at.name, width)
				b.shoot(fmt.Sprintf("%s-%d", at.name, width))
			}
			p.checkCommands(b, known)
		})
	}
	b.t = t
	if len(known) < 15 {
		t.Errorf("the pages show the commands %v: where are the others?", slices.Sorted(maps.Keys(known)))
	}
}

func readAxe(t *testing.T) string {
	t.Helper()
	install(t)
	axe, err := os.ReadFile(filepath.Join("node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(axe)
}

// judge takes a picture of the page, and has axe-core look at it.
func (b *tab) judge(axe, name string) {
	b.t.Helper()
	b.settled()
	b.shoot(name)
	call(b, runtime.Evaluate, runtime.EvaluateParams{Expression: axe + "\n;0"})
	found := js[[]struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML           string `json:"html"`
			FailureSummary string `json:"failureSummary"`
		}
	}](b, `axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }).then((r) => r.violations)`)
	for _, v := range found {
		report := b.t.Logf
		if v.Impact == "serious" || v.Impact == "critical" {
			report = b.t.Errorf
		}
		for _, n := range v.Nodes[:min(3, len(v.Nodes))] {
			report("%s: %s (%s): %s\n%s\n%s", name, v.ID, v.Impact, v.Help, n.HTML, n.FailureSummary)
		}
	}
}

// settled waits until nothing of the page is still being read, and what was read is drawn.
func (b *tab) settled() {
	b.t.Helper()
	b.eventually("the page has read everything", func() bool { return !strings.Contains(b.text(), "Reading ") })
	js[bool](b, `(async () => { for (let i = 0; i < 4; i++) await new Promise(requestAnimationFrame); return true })()`)
}

// fits fails where the page is wider than the window.
func (b *tab) fits(name string, width int64) {
	b.t.Helper()
	out := js[[]string](b, `(() => {
		const most = document.documentElement.clientWidth;
		if (document.documentElement.scrollWidth <= most) return [];
		return [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > most + 1).slice(0, 8)
			.map((e) => e.tagName + "." + e.className + " to " + Math.round(e.getBoundingClientRect().right));
	})()`)
	if len(out) > 0 {
		b.t.Errorf("%s sticks out of a window of %d: %s", name, width, strings.Join(out, "; "))
	}
}

var caracalWord = regexp.MustCompile(`^[a-z][a-z-]*$`)

// checkCommands checks every command that the page shows against the command line's help.
func (p *plant) checkCommands(b *tab, known map[string]bool) {
	p.t.Helper()
	for _, line := range js[[]string](b, `[...document.querySelectorAll('pre[aria-label="Equivalent command"]')].map((e) => e.textContent)`) {
		for _, command := range regexp.MustCompile(`[|()]|&&`).Split(line, -1) {
			words := strings.Fields(command)
			if len(words) < 2 || words[0] != "caracal" {
				continue
			}
			n := 1
			for n < len(words) && caracalWord.MatchString(words[n]) {
				n++
			}
			help := p.caracal(append(slices.Clone(words[1:n]), "--help")...)
			_, usage, _ := strings.Cut(help, "Usage:\n")
			usage, _, _ = strings.Cut(strings.TrimSpace(usage), "\n")
			if strings.Contains(usage, "[command]") || !strings.HasPrefix(usage, "caracal "+words[1]) {
				b.t.Errorf("the page shows %q, but the command line has %q", command, usage)
			}
			known[strings.Join(words[:min(3, n)], " ")] = true
			for _, w := range words[n:] {
				if flag, _, _ := strings.Cut(w, "="); strings.HasPrefix(flag, "--") && !strings.Contains(help, flag+" ") && !strings.Contains(help, flag+"\n") {
					b.t.Errorf("the page shows %q, but there is no %s", command, flag)
				}
			}
		}
	}
}

// The committed pages are what the sources give, and the first of them is small.
func TestAssets(t *testing.T) {
	install(t)
	provision.NeverCached(t, filepath.Join("node_modules", ".tested"))
	t.Log(provision.Run(t, "", nil, "npm", "run", "check"))
	data, err := os.ReadFile(filepath.Join("dist", "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`<script(?:>| [^>]*>)\s*[^<\s]`).Match(data) {
		t.Error("index.html has a script in it, which the content security policy refuses")
	}
}

var installed sync.Once

// install installs what the sources are built with.
func install(t *testing.T) {
	t.Helper()
	provision.Node(t)
	installed.Do(func() { provision.Run(t, "", nil, "npm", "ci", "--no-audit", "--no-fund", "--prefer-offline") })
}
