package deploy_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

const containerfile = "container/Containerfile"

func stages(t *testing.T) []instructions.Stage {
	t.Helper()
	parsed, err := parser.Parse(strings.NewReader(read(t, containerfile)))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range parsed.Warnings {
		t.Errorf("%s: %s %s", containerfile, w.Short, w.URL)
	}
	lint := linter.New(&linter.Config{ExperimentalAll: true, Warn: func(rule, description, url, message string, at []parser.Range) {
		t.Errorf("%s: %s: %s (%s), at %v", containerfile, rule, message, url, at)
	}})
	list, _, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// BuildKit's parser and linter have nothing to say, and the two images are what
// they are said to be: one binary each, on an empty file system, not as root.
func TestContainerfile(t *testing.T) {
	list := stages(t)
	named := map[string]instructions.Stage{}
	for _, s := range list {
		named[s.Name] = s
	}
	for _, name := range []string{"caracal", "caracald"} {
		image := named[name]
		if image.BaseName != "base" || named["base"].BaseName != "scratch" {
			t.Fatalf("%s is made from %s, and base from %s", name, image.BaseName, named["base"].BaseName)
		}
		var user, entry string
		var health *instructions.HealthCheckCommand
		labels := map[string]string{}
		for _, c := range append(slices.Clone(named["base"].Commands), image.Commands...) {
			switch c := c.(type) {
			case *instructions.UserCommand:
				user = c.User
			case *instructions.EntrypointCommand:
				entry = strings.Join(c.CmdLine, " ")
				if c.PrependShell {
					t.Errorf("%s is started by a shell, and has none", name)
				}
			case *instructions.HealthCheckCommand:
				health = c
			case *instructions.LabelCommand:
				for _, l := range c.Labels {
					labels[l.Key] = l.Value
				}
			case *instructions.RunCommand:
				t.Errorf("%s runs something in an empty file system", name)
			}
		}
		if user != "65532:65532" {
			t.Errorf("%s runs as %q", name, user)
		}
		if entry != "/usr/bin/"+name {
			t.Errorf("%s starts %q", name, entry)
		}
		checkHealth(t, name, health)
		for _, label := range []string{"title", "description", "source", "licenses", "version", "revision"} {
			if labels["org.opencontainers.image."+label] == "" {
				t.Errorf("%s has no label %s", name, label)
			}
		}
	}
	// The chart runs both as the user that owns the directories.
	if id := "65532"; !strings.Contains(read(t, chartDir+"/templates/_helpers.tpl"), "runAsUser: "+id) {
		t.Errorf("the chart does not run as %s", id)
	}
	if version := regexp.MustCompile(`golang:(\d+\.\d+)`).FindStringSubmatch(read(t, containerfile)); version == nil ||
		!strings.Contains(read(t, "../go.mod"), "\ngo "+version[1]+".") {
		t.Errorf("the compiler is %v, which go.mod does not ask for", version)
	}
}

// checkHealth runs the check of an image where nothing listens: it is one that the
// image can run, without a shell, and that fails for no other reason.
func checkHealth(t *testing.T, name string, command *instructions.HealthCheckCommand) {
	t.Helper()
	if command == nil {
		t.Errorf("%s has no health check", name)
		return
	}
	health := command.Health
	if len(health.Test) < 3 || health.Test[0] != "CMD" || health.Test[1] != "/usr/bin/"+name {
		t.Errorf("the health check of %s is %+v", name, health)
		return
	}
	cmd := exec.Command(binary(t, name), health.Test[2:]...)
	// Port 1 of this address of loopback is nobody's.
	cmd.Env = []string{"CARACALD_DECIDE_ADDR=127.77.77.77:1", "CARACAL_ADMIN_ADMIN_ADDR=127.77.77.77:1"}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "not well") {
		t.Errorf("%v says %q (%v)", health.Test, out, err)
	}
	if health.Timeout < 6*time.Second {
		t.Errorf("%s has %v to answer, and takes 5 s by itself", name, health.Timeout)
	}
}

// What the ignore file lets into the build is enough for it, and makes, in
// another directory, the very bytes that the tree itself makes.
func TestContainerContext(t *testing.T) {
	file, err := os.Open(containerfile + ".dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close() // it was read
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	context := t.TempDir()
	var size int64
	err = filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel("..", path)
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || name == "deploy" || name == "bin") {
			return filepath.SkipDir
		}
		skip, err := ignored.MatchesOrParentMatches(name)
		if err != nil || skip || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		size += int64(len(data))
		to := filepath.Join(context, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	if size > 32<<20 {
		t.Errorf("the build context has %d bytes", size)
	}
	into := t.TempDir()
	if err := compile(context, into); err != nil {
		t.Fatal(err)
	}
	for name, version := range map[string]string{"caracal": "version", "caracald": "--version"} {
		path := filepath.Join(into, name)
		if !bytes.Equal(hash(t, path), hash(t, binary(t, name))) {
			t.Errorf("%s differs by the directory that it is built in", name)
		}
		if out, err := run(t, path, version); err != nil || !strings.Contains(out, imageVersion) {
			t.Errorf("%s says that it is %q (%v)", name, out, err)
		}
	}
}

func hash(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	_ = f.Close() // it was read
	return h.Sum(nil)
}
