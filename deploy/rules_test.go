package deploy_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"

	"github.com/caracalai/caracald/internal/provision"
)

var promql = parser.NewParser(parser.Options{})

func ruleGroups(t *testing.T) *rulefmt.RuleGroups {
	t.Helper()
	groups, errs := rulefmt.Parse([]byte(read(t, "prometheus/alerts.yaml")), false, model.UTF8Validation, promql, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Errorf("prometheus/alerts.yaml: %v", err)
	}
	if groups == nil {
		t.Fatal("prometheus/alerts.yaml has no groups")
	}
	return groups
}

// An alert says how bad it is, what it means, and where its runbook is; each
// runbook is of an alert.
func TestAlerts(t *testing.T) {
	const at = "https://github.com/caracalai/caracald/blob/main/docs/operations.md#"
	page := read(t, "../docs/operations.md")
	books := map[string]string{}
	for section := range strings.SplitSeq(page, "\n### ") {
		if name, text, _ := strings.Cut(section, "\n"); strings.HasPrefix(name, "Caracal") {
			books[name] = text
		}
	}
	seen := map[string]bool{}
	for _, g := range ruleGroups(t).Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			if seen[r.Alert] {
				t.Errorf("%s is there twice", r.Alert)
			}
			seen[r.Alert] = true
			if s := r.Labels["severity"]; s != "critical" && s != "warning" && s != "info" {
				t.Errorf("%s has the severity %q", r.Alert, s)
			}
			for _, name := range []string{"summary", "description"} {
				if r.Annotations[name] == "" {
					t.Errorf("%s has no %s", r.Alert, name)
				}
			}
			if r.Annotations["runbook_url"] != at+strings.ToLower(r.Alert) {
				t.Errorf("%s has the runbook %s", r.Alert, r.Annotations["runbook_url"])
			}
			for _, part := range []string{"**Meaning.**", "**Impact.**", "**Diagnose.**", "**Mend.**"} {
				if !strings.Contains(books[r.Alert], part) {
					t.Errorf("the runbook of %s has no %s", r.Alert, part)
				}
			}
		}
	}
	for name := range books {
		if !seen[name] {
			t.Errorf("docs/operations.md has a runbook of %s, which is no alert", name)
		}
	}
}

// promtool takes the rules, and plays each alert: where it fires and where not.
func TestAlertsFire(t *testing.T) {
	provision.Ensure(t, "Prometheus' promtool", func() error {
		_, err := exec.LookPath("promtool")
		return err
	}, "prometheus")
	if out, err := run(t, "promtool", "check", "rules", "prometheus/alerts.yaml"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := run(t, "promtool", "test", "rules", "prometheus/alerts_test.yaml"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	var played struct {
		Tests []struct {
			Expressions []struct {
				Samples []struct{ Labels string } `json:"exp_samples"`
			} `json:"promql_expr_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "prometheus/alerts_test.yaml")), &played); err != nil {
		t.Fatal(err)
	}
	fired, quiet := map[string]bool{}, 0
	for _, test := range played.Tests {
		for _, e := range test.Expressions {
			if len(e.Samples) == 0 {
				quiet++
			}
			for _, s := range e.Samples {
				if m := regexp.MustCompile(`alertname="(\w+)"`).FindStringSubmatch(s.Labels); m != nil {
					fired[m[1]] = true
				}
			}
		}
	}
	for _, g := range ruleGroups(t).Groups {
		for _, r := range g.Rules {
			if r.Alert != "" && !fired[r.Alert] {
				t.Errorf("nothing makes %s fire", r.Alert)
			}
		}
	}
	if quiet < 10 {
		t.Errorf("only %d tests want that nothing fires", quiet)
	}
}

// expression is one that is used somewhere.
type expression struct{ where, text string }

// expressions are all of the rules and of the dashboards, with what Grafana
// puts in for its variables.
func expressions(t *testing.T) (list []expression) {
	t.Helper()
	for _, g := range ruleGroups(t).Groups {
		for _, r := range g.Rules {
			list = append(list, expression{"alerts.yaml: " + r.Alert + r.Record, r.Expr})
		}
	}
	in := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*", "$zone", ".*")
	for _, file := range glob(t, "grafana/*.json") {
		var board any
		if err := json.Unmarshal([]byte(read(t, file)), &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var walk func(v any)
		walk = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				if text, ok := v["expr"].(string); ok {
					list = append(list, expression{filepath.Base(file), in.Replace(text)})
				}
				if text, ok := v["query"].(string); ok {
					if m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(text); m != nil {
						list = append(list, expression{filepath.Base(file), "group by (" + m[2] + ") (" + in.Replace(m[1]) + ")"})
					}
				}
				for _, name := range slices.Sorted(maps.Keys(v)) {
					walk(v[name])
				}
			case []any:
				for _, item := range v {
					walk(item)
				}
			}
		}
		walk(board)
	}
	return list
}

// exposed is what was scraped: the label sets of each metric.
type exposed map[string][]map[string]string

// fromPrometheus are labels that a scrape adds.
var fromPrometheus = []string{"job", "instance"}

// TestExpressions starts a control plane and a daemon, lets happen what can
// happen, scrapes both, and wants that every selector finds something and that
// every label that is grouped or joined by is there.
func TestExpressions(t *testing.T) {
	scraped := scrape(t)
	list := expressions(t)
	if len(list) < 70 {
		t.Fatalf("there are %d expressions", len(list))
	}
	recorded := map[string]parser.Expr{}
	for _, g := range ruleGroups(t).Groups {
		for _, r := range g.Rules {
			if r.Record != "" {
				e, err := promql.ParseExpr(r.Expr)
				if err != nil {
					t.Fatal(err)
				}
				recorded[r.Record] = e
			}
		}
	}
	used := map[string]bool{}
	for _, e := range list {
		parsed, err := promql.ParseExpr(e.text)
		if err != nil {
			t.Errorf("%s: %v: %s", e.where, err, e.text)
			continue
		}
		for _, wrong := range scraped.check(parsed, recorded, used) {
			t.Errorf("%s: %s: %s", e.where, wrong, e.text)
		}
	}
	for name := range recorded {
		delete(used, name)
	}
	unused := []string{}
	for name := range scraped {
		if strings.HasPrefix(name, "caracal_") && !used[name] && !used[strings.TrimSuffix(strings.TrimSuffix(name, "_sum"), "_count")+"_bucket"] {
			unused = append(unused, name)
		}
	}
	if len(unused) > 0 {
		t.Errorf("no rule and no dashboard shows %v", unused)
	}
}

// check gives what an expression asks for and is not there.
func (x exposed) check(e parser.Expr, recorded map[string]parser.Expr, used map[string]bool) (wrong []string) {
	has := func(below parser.Node, label string) bool {
		if slices.Contains(fromPrometheus, label) {
			return true
		}
		found := false
		parser.Inspect(below, func(n parser.Node, _ []parser.Node) error {
			s, ok := n.(*parser.VectorSelector)
			if !ok {
				return nil
			}
			if rule := recorded[s.Name]; rule != nil {
				if a, ok := outermost(rule); ok && slices.Contains(a, label) {
					found = true
				}
			}
			for _, of := range x[s.Name] {
				if _, ok := of[label]; ok {
					found = true
				}
			}
			return nil
		})
		return found
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			used[n.Name] = true
			if n.Name != "up" && recorded[n.Name] == nil && !x.match(n) {
				wrong = append(wrong, "nothing is exposed that "+n.String()+" finds")
			}
		case *parser.AggregateExpr:
			for _, label := range n.Grouping {
				if !has(n.Expr, label) {
					wrong = append(wrong, "there is no label "+label)
				}
			}
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				for _, label := range n.VectorMatching.MatchingLabels {
					if !has(n.LHS, label) || !has(n.RHS, label) {
						wrong = append(wrong, "there is no label "+label+" on both sides")
					}
				}
			}
		}
		return nil
	})
	return wrong
}

// outermost are the labels that an expression's result has, where an
// aggregation says so.
func outermost(e parser.Expr) (list []string, ok bool) {
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if a, is := n.(*parser.AggregateExpr); is && !ok {
			list, ok = a.Grouping, true
		}
		return nil
	})
	return list, ok
}

func (x exposed) match(s *parser.VectorSelector) bool {
	for _, of := range x[s.Name] {
		if !slices.ContainsFunc(s.LabelMatchers, func(m *labels.Matcher) bool {
			return m.Name != model.MetricNameLabel && !slices.Contains(fromPrometheus, m.Name) && !m.Matches(of[m.Name])
		}) {
			return true
		}
	}
	return false
}

func (x exposed) String() string { return fmt.Sprint(slices.Sorted(maps.Keys(x))) }
