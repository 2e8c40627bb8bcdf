package deploy_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// imageVersion is the version that tests build.
const imageVersion = "v1.2.3"

// built is the directory with caracal and caracald, made once for all tests, as
// the container file makes them.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "deploy-check")
	if err != nil {
		return "", err
	}
	return dir, compile("..", dir)
})

var goBuild = regexp.MustCompile(`go build -ldflags "([^"]*)"`)

// compile builds both binaries of a source tree, with the container file's flags.
func compile(tree, into string) error {
	text, err := os.ReadFile(containerfile)
	if err != nil {
		return err
	}
	flags := goBuild.FindSubmatch(text)
	if flags == nil {
		return errors.New("the container file builds nothing")
	}
	ldflags := strings.ReplaceAll(string(flags[1]), "${VERSION}", imageVersion)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", into+"/", "./cmd/caracal", "./cmd/caracald")
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the binaries: %w\n%s", err, out)
	}
	return nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := built(); err == nil {
		_ = os.RemoveAll(dir) // a temporary directory
	}
	os.Exit(code)
}

// binary is the path of caracal or caracald.
func binary(t *testing.T, name string) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// printConfig runs a command line with --print-config, which reads its settings
// as for serving, and gives the key of each setting with where it came from.
func printConfig(t *testing.T, env []string, name string, args ...string) map[string]string {
	t.Helper()
	cmd := exec.Command(binary(t, name), append(args, "--print-config")...)
	cmd.Env = env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Errorf("%s %s: %v: %s", name, strings.Join(args, " "), err, errs.String())
		return nil
	}
	sources, from := map[string]string{}, ""
	for line := range strings.Lines(out.String()) {
		if rest, ok := strings.CutPrefix(line, "# from: "); ok {
			from = strings.TrimSpace(rest)
		} else if key := regexp.MustCompile(`^([a-z0-9_]+):`).FindStringSubmatch(line); key != nil {
			sources[key[1]] = from
		}
	}
	return sources
}

// known are the settings and variables that the reference has. It is made from
// the code, and a test of the command line holds it to that.
type known struct{ flags, variables, keys map[string]bool }

func reference(t *testing.T) known {
	t.Helper()
	k := known{map[string]bool{"--config": true, "--print-config": true}, map[string]bool{"CARACALD_CONFIG": true, "CARACAL_ADMIN_CONFIG": true}, map[string]bool{}}
	for _, m := range regexp.MustCompile("(?m)^\\| `(--[a-z0-9-]+)` \\| `([A-Z0-9_]+)` \\| `([a-z0-9_]+)` \\|").FindAllStringSubmatch(read(t, "../docs/reference/configuration.md"), -1) {
		k.flags[m[1]], k.variables[m[2]], k.keys[m[3]] = true, true, true
	}
	cli := read(t, "../docs/reference/cli.md")
	for _, m := range regexp.MustCompile("(?m)^\\| `(--[a-z0-9-]+)[ `]").FindAllStringSubmatch(cli, -1) {
		k.flags[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`\$?\b(CARACAL[A-Z_]*)\b`).FindAllStringSubmatch(cli, -1) {
		k.variables[m[1]] = true
	}
	if len(k.keys) < 40 || len(k.variables) < 40 {
		t.Fatalf("the reference has %d keys and %d variables", len(k.keys), len(k.variables))
	}
	return k
}

var (
	variable    = regexp.MustCompile(`\bCARACALD?_[A-Z0-9_]+\b`)
	programFlag = regexp.MustCompile(`\bcaracald?\b[^\n|;&]*`)
	// Lines that start something else, of which ours is an argument.
	otherProgram = regexp.MustCompile(`\b(docker|helm|kubectl|go) (build|run|install|get|-n)\b|COPY `)
	aFlag        = regexp.MustCompile(`(?:^|\s)(--[a-z][a-z0-9-]*)`)
)

// Every variable, flag and settings key in deploy/ is one that the binaries have.
func TestSettingsExist(t *testing.T) {
	k := reference(t)
	seen := 0
	err := filepath.WalkDir(".", func(file string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(file, ".go") || strings.HasPrefix(file, "go.") {
			return err
		}
		text := read(t, file)
		for _, name := range variable.FindAllString(text, -1) {
			if seen++; !k.variables[name] {
				t.Errorf("%s names the variable %s, which nothing reads", file, name)
			}
		}
		for whole := range strings.Lines(text) {
			if otherProgram.MatchString(whole) {
				continue
			}
			for _, m := range aFlag.FindAllStringSubmatch(programFlag.FindString(whole), -1) {
				if seen++; !k.flags[m[1]] {
					t.Errorf("%s names the flag %s, which nothing takes, in %q", file, m[1], whole)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 20 {
		t.Errorf("only %d variables and flags were found", seen)
	}
}
