package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/policy"
)

// testSuffix ends the names of files with tests.
const testSuffix = "_test.rego"

func (a *app) policyTest() *cobra.Command {
	cmd := &cobra.Command{
		Use: "test PATH...", Short: "Run the tests of policies, on this machine", Args: args(1, -1),
		Long: `Runs the tests of policies on this machine; the control plane does the same.
Files whose names end in _test.rego have tests: rules whose names begin with test_, in the
package of the policies or any other. The other .rego files are policies, which are
compiled together as a set is. Of a directory all such files in it and below are taken.
The exit code is 1 where a test fails or there is none.`,
		Example: "  caracal policy test policies --coverage\n  caracal policy test payments.rego payments_test.rego --run refund",
	}
	covered := cmd.Flags().Bool("coverage", false, "show how much of each policy the tests evaluate, and the lines that they do not")
	selected := cmd.Flags().String("run", "", "run only tests whose full names, as data.caracal.authz_test.test_reads, match this `REGEX`")
	verbose := cmd.Flags().BoolP("verbose", "v", false, "show tests that pass, and what they print")
	timeout := cmd.Flags().Duration("timeout", time.Minute, "the most time for all tests; each has the second that a decision has")
	cmd.RunE = func(cmd *cobra.Command, list []string) error {
		run := policy.TestRun{Timeout: *timeout}
		var err error
		if *selected != "" {
			if run.Select, err = regexp.Compile(*selected); err != nil {
				return fmt.Errorf("%w: --run: %w", errUsage, err)
			}
		}
		if *timeout <= 0 {
			return fmt.Errorf("%w: --timeout must be more than nothing", errUsage)
		}
		if run.Policies, run.Tests, err = regoFiles(list); err != nil {
			return err
		}
		report, err := policy.Test(cmd.Context(), run)
		if err != nil {
			return err
		}
		if err := a.show(report, func() error { return a.printTests(report, *verbose, *covered) }); err != nil {
			return err
		}
		switch {
		case len(report.Results) == 0:
			return errors.New("there are no tests to run")
		case report.Failed+report.Errored > 0:
			return fmt.Errorf("%d of %d tests did not pass", report.Failed+report.Errored, len(report.Results))
		}
		return nil
	}
	return cmd
}

// regoFiles reads the policies and the tests that are at paths.
func regoFiles(paths []string) (policies, tests []policy.Document, err error) {
	seen := map[string]bool{}
	read := func(name string) error {
		name = filepath.Clean(name)
		if seen[name] {
			return nil
		}
		seen[name] = true
		content, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("reading policies: %w", err)
		}
		d := policy.Document{Name: name, Content: string(content)}
		if strings.HasSuffix(name, testSuffix) {
			tests = append(tests, d)
		} else {
			policies = append(policies, d)
		}
		return nil
	}
	for _, path := range paths {
		err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return fmt.Errorf("reading policies: %w", err)
			case entry.IsDir() || name != path && filepath.Ext(name) != ".rego":
				return nil
			}
			return read(name)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return policies, tests, nil
}

// printTests prints the tests that did not pass, or all, and what they cover.
func (a *app) printTests(report *policy.TestReport, all, covered bool) error {
	marks := map[string]string{policy.TestPassed: "pass ", policy.TestFailed: "FAIL ", policy.TestErrored: "ERROR", policy.TestSkipped: "skip "}
	var lines []string
	for _, r := range report.Results {
		if r.Outcome == policy.TestPassed && !all {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %s:%d: %s.%s", marks[r.Outcome], r.File, r.Location.Row, r.Package, r.Name))
		if r.Message != "" {
			lines = append(lines, indent(indent(indent(r.Message))))
		}
		if r.Output != "" {
			lines = append(lines, indent(indent(indent(r.Output))))
		}
	}
	lines = append(lines, fmt.Sprintf("%d passed, %d failed, %d errors, %d skipped", report.Passed, report.Failed, report.Errored, report.Skipped))
	if err := a.print(strings.Join(lines, "\n")); err != nil || !covered {
		return err
	}
	var rows [][]string
	for _, c := range report.Coverage {
		rows = append(rows, []string{c.File, strconv.FormatFloat(c.Percent, 'f', 1, 64) + "%", uncovered(c)})
	}
	return a.table([]string{"POLICY", "COVERED", "LINES NOT COVERED"}, rows)
}

// uncovered lists the lines where something is not covered, as 3-5, 9.
func uncovered(c policy.FileCoverage) string {
	var rows []int
	for _, s := range c.NotCovered {
		for row := s.Start.Row; row <= s.End.Row; row++ {
			rows = append(rows, row)
		}
	}
	slices.Sort(rows)
	rows = slices.Compact(rows)
	var parts []string
	for i := 0; i < len(rows); {
		j := i
		for j+1 < len(rows) && rows[j+1] == rows[j]+1 {
			j++
		}
		part := strconv.Itoa(rows[i])
		if j > i {
			part += "-" + strconv.Itoa(rows[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ", ")
}
