package admin

import (
	"context"
	"fmt"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/policy"
)

// Names of the documents of a test.
const (
	policyFile = "policy.rego"
	testsFile  = "policy_test.rego"
)

// testPolicy runs tests against content that need not be stored.
func (s *Server) testPolicy(ctx context.Context, _ *call, req *api.TestRequest) (api.TestReport, error) {
	run := policy.TestRun{
		Policies: []policy.Document{{Name: policyFile, Content: req.Content}},
		Tests:    []policy.Document{{Name: testsFile, Content: req.Tests}},
		Limits:   s.cfg.Limits,
	}
	if n := len(req.Modules); n >= policy.MaxPolicies {
		return api.TestReport{}, invalidBody("/modules", "has %d modules; at most %d are accepted", n, policy.MaxPolicies-1)
	}
	taken := map[string]bool{policyFile: true, testsFile: true}
	for i, m := range req.Modules {
		field := fmt.Sprintf("/modules/%d/name", i)
		if err := checkName(field, m.Name); err != nil {
			return api.TestReport{}, err
		}
		if taken[m.Name] {
			return api.TestReport{}, invalidBody(field, "is the name of another document: %s", m.Name)
		}
		taken[m.Name] = true
		run.Policies = append(run.Policies, policy.Document{Name: m.Name, Content: m.Content})
	}
	var report *policy.TestReport
	err := s.work.use(ctx, func() (err error) {
		report, err = policy.Test(ctx, run)
		return err
	})
	if p := invalidRego(err); p != nil {
		return api.TestReport{}, p
	}
	if err != nil {
		return api.TestReport{}, err
	}
	return api.TestReport{
		Passed: report.Passed, Failed: report.Failed, Errored: report.Errored, Skipped: report.Skipped,
		DurationMS: report.DurationMS, Results: report.Results, Coverage: report.Coverage[0],
	}, nil
}
