package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caracalai/caracald/policy"
)

// checkedAllow is a rule that allows, with the scopes checked.
const checkedAllow = "result := " + allowValue + ` if { every s in input.context.requested_scopes { s == "read" } }`

func TestWarnings(t *testing.T) {
	object := func(fields string) string {
		return rego(denyDefault, `result := {`+fields+`} if input.action.id == "a"`)
	}
	for name, c := range map[string]struct {
		content string
		want    string // codes in order, "!" after those that block
		place   string // row:col of the first, where it matters
	}{
		"none":            {rego(denyDefault, checkedAllow), "", ""},
		"deny everything": {rego(denyDefault), "", ""},

		"no default":               {rego(checkedAllow), "missing_default_result", "3:1"},
		"no result":                {rego(`x := 1`), "missing_default_result", "1:1"},
		"default of another rule":  {rego(`default x := 1`, checkedAllow, `y := x`), "missing_default_result unused_rule", ""},
		"default of the decision":  {rego(`default result.decision := "deny"`, `result.evaluation_status := "complete"`, `result.determining_policies := []`, `result.diagnostics := []`), "", ""},
		"default of another field": {rego(`result.decision := "deny"`, `default result.evaluation_status := "complete"`), "missing_default_result", ""},

		"default allows":                    {rego(`default result := ` + allowValue), "default_result_allows_access!", "3:1"},
		"default of the decision allows":    {rego(`default result.decision := "allow"`, `result.evaluation_status := "complete"`), "default_result_allows_access!", "3:1"},
		"default of the decision's rule":    {rego(denyDefault, `result := {"decision": d, "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}`, `default d := "allow"`, `d := "deny" if input.context.requested_scopes == []`), "default_result_allows_access!", "6:1"},
		"default of the decision's source":  {rego(denyDefault, `result := {"decision": d, "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if input.context.requested_scopes`, `d := e`, `default e := "allow"`), "default_result_allows_access!", "7:1"},
		"default of the result's rule":      {rego(`default result := `+denyValue, `result := final if input.context.requested_scopes`, `default final := `+allowValue), "default_result_allows_access!", "5:1"},
		"default of an else branch's rule":  {rego(denyDefault, `result := `+denyValue+` if input.context.requested_scopes == [] else := final`, `default final := `+allowValue), "default_result_allows_access!", "6:1"},
		"default of a rule read otherwise":  {rego(denyDefault, checkedAllow+` else := `+denyValue+` if allow`, `default allow := true`), "", ""},
		"default with the word in the text": {rego(`default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "allow"}]}`), "", ""},

		"scopes unchecked":                   {rego(denyDefault, `result := `+allowValue+` if input.principal.id == "a"`), "missing_requested_scope_check", "5:1"},
		"scopes checked by a rule":           {rego(denyDefault, `result := `+allowValue+` if ok`, `ok if "a" in input.context.requested_scopes`), "", ""},
		"scopes checked by a function":       {rego(denyDefault, `result := `+allowValue+` if ok("a")`, `ok(s) if s in input.context.requested_scopes`), "", ""},
		"scopes checked three rules away":    {rego(denyDefault, `result := `+allowValue+` if a`, `a if not b`, `b if c.d`, `c.d if count(input.context.requested_scopes) == 0`), "", ""},
		"scopes checked in an else branch":   {rego(denyDefault, `result := `+denyValue+` if count(input.context.requested_scopes) == 0 else := `+allowValue), "", ""},
		"scopes read as part of the context": {rego(denyDefault, `result := `+allowValue+` if input.context[_] == ["a"]`), "", ""},
		"scopes checked by another rule only": {
			rego(denyDefault, `result := `+allowValue+` if input.principal.id == "a"`, `result := `+denyValue+` if bad`, `bad if "x" in input.context.requested_scopes`),
			"missing_requested_scope_check", "5:1",
		},
		"scopes unchecked, the decision elsewhere": {rego(denyDefault, `result := {"decision": d, "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}`, `d := "allow" if input.principal.id == "a"`), "missing_requested_scope_check", "5:1"},
		"scopes unchecked, the result elsewhere":   {rego(denyDefault, `result := f("x") if input.action.id`, `f(_) := `+allowValue), "missing_requested_scope_check", "5:1"},
		"scopes unchecked, field by field":         {rego(`default result.decision := "deny"`, `result.decision := "allow" if input.principal.id == "a"`, `result.evaluation_status := "complete"`, `result.determining_policies := []`, `result.diagnostics := []`), "missing_requested_scope_check", "4:1"},
		"scopes unchecked by a contribution":       {rego(`allow if input.principal.id == "a"`), "missing_default_result missing_requested_scope_check", ""},
		"scopes perhaps checked by another policy": {rego(denyDefault, `result := `+allowValue+` if data.caracal.authz.checked`), "", ""},
		"scopes not checked by what cannot be":     {rego(denyDefault, `result := `+allowValue+` if data.elsewhere.checked`), "missing_requested_scope_check unknown_data_reference", ""},
		"deny does not need scopes":                {rego(denyDefault, `result := `+denyValue+` if input.principal.id == "a" else := `+denyValue), "", ""},

		"result is a string":                 {rego(denyDefault, `result := "allow" if input.action.id == "a"`), "result_shape!", "5:1"},
		"result is a boolean":                {rego(denyDefault, `result if input.action.id == "a"`), "result_shape!", "5:1"},
		"result is an array":                 {rego(denyDefault, `result := [1] if input.action.id == "a"`), "result_shape!", ""},
		"default is a boolean":               {rego(`default result := false`), "result_shape!", "3:1"},
		"result is a set":                    {rego(`result contains "allow" if input.action.id == "a"`), "missing_default_result result_shape!", ""},
		"else branch is a string":            {rego(denyDefault, `result := `+denyValue+` if input.action.id == "a" else := "deny"`), "result_shape!", "5:138"},
		"decision is another word":           {object(`"decision": "maybe", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []`), "result_shape!", "5:1"},
		"decision is upper case":             {object(`"decision": "Deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []`), "result_shape!", ""},
		"decision is a boolean":              {object(`"decision": true, "evaluation_status": "complete", "determining_policies": [], "diagnostics": []`), "result_shape!", ""},
		"status is another word":             {object(`"decision": "deny", "evaluation_status": "done", "determining_policies": [], "diagnostics": []`), "result_shape!", ""},
		"field missing":                      {object(`"decision": "deny", "evaluation_status": "complete", "determining_policies": []`), "result_shape!", ""},
		"field too many":                     {object(`"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [], "obligations": []`), "result_shape!", ""},
		"policies are a string":              {object(`"decision": "deny", "evaluation_status": "complete", "determining_policies": "p", "diagnostics": []`), "result_shape!", ""},
		"policies are strings":               {object(`"decision": "deny", "evaluation_status": "complete", "determining_policies": ["p"], "diagnostics": []`), "result_shape!", ""},
		"policies without a name":            {object(`"decision": "deny", "evaluation_status": "complete", "determining_policies": [{"id": 1}], "diagnostics": []`), "result_shape!", ""},
		"policies with a numeric name":       {object(`"decision": "deny", "evaluation_status": "complete", "determining_policies": [{"policy": 1}], "diagnostics": []`), "result_shape!", ""},
		"diagnostics are strings":            {object(`"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": ["x"]`), "result_shape!", ""},
		"what only evaluation can tell":      {rego(denyDefault, `result := {"decision": input.action.id, "evaluation_status": s, "determining_policies": [{"policy": p} | some p in input.context.requested_scopes], "diagnostics": data.caracal.authz.list}`, `s := "complete"`), "", ""},
		"a result computed whole":            {rego(denyDefault, `result := object.union(`+denyValue+`, {"decision": "allow"}) if input.context.requested_scopes`), "", ""},
		"computed fields":                    {rego(denyDefault, `result := {k: v} if { some k, v in input.context.requested_scopes }`), "", ""},
		"field by field, one unknown":        {rego(`default result.decision := "deny"`, `result.obligations := []`), "result_shape!", "4:1"},
		"field by field, a wrong word":       {rego(`default result.decision := "no"`), "result_shape!", ""},
		"field by field, a set of strings":   {rego(`default result.decision := "deny"`, `result.diagnostics contains "x"`), "result_shape!", ""},
		"field by field, a set of objects":   {rego(`default result.decision := "deny"`, `result.diagnostics contains {"reason": "x"}`), "", ""},
		"field by field, the decision a set": {rego(`default result.evaluation_status := "complete"`, `result.decision contains "deny"`), "missing_default_result result_shape!", ""},
		"field by field, one inside another": {rego(`default result.decision := "deny"`, `result.diagnostics.reason := "x"`), "result_shape!", ""},

		"an input field that is not there":     {rego(denyDefault, `result := `+denyValue+` if input.principal.name == "a"`), "unknown_input_field", "5:115"},
		"several of them":                      {rego(denyDefault, `result := `+denyValue+` if { input.subject.id == "a"; input.context.scopes == []; input.action.id.x }`), "unknown_input_field", ""},
		"a field of a label":                   {rego(denyDefault, `result := `+denyValue+` if input.principal.labels.role == "a"`), "unknown_input_field", ""},
		"a field that only a test's input has": {rego(denyDefault, checkedAllow, `test_x if data.caracal.authz.result with input as {"principal": {"name": "a"}}`), "", ""},
		"claims have any field":                {rego(denyDefault, `result := `+denyValue+` if { input.context.actor_claims.department.name == "a"; input.context.subject_claims.x }`), "", ""},
		"constraints have any field":           {rego(denyDefault, `result := `+denyValue+` if input.delegation_edge.constraints_json.limit > 1`), "", ""},
		"paths have any element":               {rego(denyDefault, `result := `+denyValue+` if input.delegation_edge.path[0].id == "a"`), "", ""},
		"computed fields of the input":         {rego(denyDefault, `result := `+denyValue+` if { some k; input[k].id == "a" }`), "", ""},
		"all of the input":                     {rego(denyDefault, `result := `+denyValue+` if object.get(input, "x", 1) == 1`), "", ""},

		"data that cannot be":    {rego(denyDefault, `result := `+denyValue+` if data.users[input.principal.id]`), "unknown_data_reference", ""},
		"data of another policy": {rego(denyDefault, `result := `+denyValue+` if data.caracal.authz.other.thing`), "", ""},

		"an unused rule":                    {rego(denyDefault, `helper := 1`), "unused_rule", "5:1"},
		"an unused rule, said once":         {rego(denyDefault, `helper := 1 if input.action.id == "a"`, `helper := 2 if input.action.id == "b"`), "unused_rule", "5:1"},
		"an unused rule behind another":     {rego(denyDefault, `a := b`, `b := 1`), "unused_rule", ""},
		"a rule that only tests use":        {rego(denyDefault, `helper := 1`, `test_helper if helper == 1`), "", ""},
		"a rule reached through a variable": {rego(denyDefault, `result := `+denyValue+` if { some k; data.caracal.authz.sub[k] }`), "", ""},
		"a rule for other policies":         {rego(`helper := 1`), "missing_default_result", ""},

		"rules that always contradict":      {rego(denyDefault, `result := `+denyValue+` if x == 1`, `x := 1`, `x := 2`), "possible_conflict!", "7:1"},
		"rules that contradict in one case": {rego(denyDefault, `result := `+denyValue+` if x == 1`, `x := 1 if input.action.id == "a"`, `x := 2 if input.principal.id == "b"`), "", ""},
		"rules that say the same":           {rego(denyDefault, `result := `+denyValue+` if x == 1`, `x := 1`, `x := 1`), "", ""},
		"a default and a constant":          {rego(denyDefault, `result := `+denyValue+` if x == 1`, `default x := 2`, `x := 1`), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := validate(t, c.content)
			sorted := strings.Fields(codes(v.Warnings))
			slices.Sort(sorted)
			if got := strings.Join(sorted, " "); got != c.want {
				t.Errorf("got %q, want %q\n%+v", got, c.want, v.Warnings)
			}
			if v.Warnings == nil {
				t.Error("warnings are nil; JSON would say null")
			}
			for _, w := range v.Warnings {
				if w.Message == "" || w.Policy != "" {
					t.Errorf("got %+v", w)
				}
			}
			if c.place != "" && len(v.Warnings) > 0 {
				at := v.Warnings[0].Location
				if at == nil || fmt.Sprintf("%d:%d", at.Row, at.Col) != c.place {
					t.Errorf("at %+v, want %s", at, c.place)
				}
			}
		})
	}
}

func TestWarningsNameTheField(t *testing.T) {
	v := validate(t, rego(denyDefault, `result := `+denyValue+` if input.principal.nosuch == "a"`))
	if len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0].Message, "input.principal.nosuch is not a field of input schema 2026-05-20") {
		t.Errorf("got %+v", v.Warnings)
	}
}

// What one policy lacks and another has is no warning of the set.
func TestWarningsOfASet(t *testing.T) {
	for name, c := range map[string]struct {
		contents []string
		want     []string // policy: code
	}{
		"each complete":          {[]string{rego(denyDefault, checkedAllow), "package caracal.authz.sub\n"}, nil},
		"default from another":   {[]string{rego(checkedAllow), rego(denyDefault)}, nil},
		"default from nobody":    {[]string{rego("x := 1"), rego(checkedAllow, "y := x")}, []string{"a: unused_rule", "b: missing_default_result", "b: unused_rule"}},
		"result from nobody":     {[]string{rego("x := 1"), rego("y := 2")}, []string{": missing_result"}},
		"an empty set":           {nil, []string{": missing_result"}},
		"used by another":        {[]string{rego("x := 1"), rego(denyDefault, `result := `+denyValue+` if x == 2`)}, nil},
		"read but not there":     {[]string{rego(denyDefault, `result := `+denyValue+` if data.caracal.authz.nosuch`)}, []string{"a: unknown_data_reference"}},
		"read from a package":    {[]string{rego(denyDefault, `result := `+denyValue+` if data.caracal.authz.sub`), "package caracal.authz.sub.below\n\nx := 1\n"}, nil},
		"scopes checked there":   {[]string{rego(denyDefault, `result := `+allowValue+` if data.caracal.authz.ok`), rego(`ok if "a" in input.context.requested_scopes`)}, nil},
		"scopes unchecked there": {[]string{rego(denyDefault, `result := `+allowValue+` if data.caracal.authz.ok`), rego(`ok if input.action.id == "a"`)}, []string{"a: missing_requested_scope_check"}},
		"fields in two policies": {[]string{rego(`default result.decision := "deny"`, `result.evaluation_status := "complete"`), rego(`result.determining_policies := []`, `result.diagnostics := []`)}, nil},
		"a field in none":        {[]string{rego(`default result.decision := "deny"`, `result.evaluation_status := "complete"`), rego(`result.determining_policies := []`)}, []string{"a: result_shape!"}},
		"an allowing default":    {[]string{rego("x := 1"), rego(`default result := `+allowValue, `result := `+denyValue+` if x == 2`)}, []string{"b: default_result_allows_access!"}},
		"the choice in another":  {[]string{rego(denyDefault, `result := {"decision": data.caracal.authz.d, "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"s": s} | some s in input.context.requested_scopes]}`), rego(`default d := "allow"`)}, []string{"b: default_result_allows_access!"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, w := range compile(t, c.contents...).Warnings() {
				got = append(got, w.Policy+": "+codes([]policy.Warning{w}))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
