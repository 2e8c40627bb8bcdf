package deploy_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/caracalai/caracald/internal/provision"
)

// units are the services with the binary that each runs.
var units = map[string]string{"caracal-admin.service": "caracal", "caracald.service": "caracald"}

// mostExposed is how exposed systemd may find a service, in tenths of a point of ten.
const mostExposed = 15

func systemd(t *testing.T) {
	t.Helper()
	provision.Ensure(t, "systemd's own checks", func() error {
		for _, name := range []string{"systemd-analyze", "systemd-sysusers", "systemd-tmpfiles"} {
			if _, err := exec.LookPath(name); err != nil {
				return err
			}
		}
		return nil
	}, "systemd")
}

func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	return string(out), err
}

// The units are as systemd wants them, and as closed as they are said to be.
func TestUnits(t *testing.T) {
	systemd(t)
	dir := t.TempDir()
	for unit, program := range units {
		text := read(t, "systemd/"+unit)
		path := filepath.Join(dir, unit)
		// verify wants programs that are there.
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "/usr/bin/"+program+" ", binary(t, program)+" ")), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run(t, "systemd-analyze", "verify", "--man=no", path); err != nil || strings.Contains(out, path) || strings.Contains(out, unit) {
			t.Errorf("%s: %v: %s", unit, err, out)
		}
		if out, err := run(t, "systemd-analyze", "security", "--no-pager", "--offline=true", fmt.Sprintf("--threshold=%d", mostExposed), path); err != nil {
			t.Errorf("%s is more exposed than %d tenths: %s", unit, mostExposed, out)
		}
	}
}

var (
	execStart   = regexp.MustCompile(`(?m)^ExecStart=(\S+) (.*)$`)
	environment = regexp.MustCompile(`(?m)^Environment=(.*)$`)
)

// What the units start takes the arguments, variables and settings files that
// they give it.
func TestUnitsStartWhatIsThere(t *testing.T) {
	for unit, program := range units {
		text := read(t, "systemd/"+unit)
		start := execStart.FindStringSubmatch(text)
		if start == nil || start[1] != "/usr/bin/"+program {
			t.Fatalf("%s starts %v", unit, start)
		}
		file := map[string]string{"caracal": "systemd/admin.yaml", "caracald": "systemd/caracald.yaml"}[program]
		set := map[string]any{}
		if err := yaml.Unmarshal([]byte(read(t, file)), &set); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		installed := map[string]string{"caracal": "/etc/caracal/admin.yaml", "caracald": "/etc/caracald/caracald.yaml"}[program]
		if !strings.Contains(start[2], "--config "+installed) || !strings.Contains(read(t, "systemd/tmpfiles.d/caracal.conf"), " "+installed+" ") {
			t.Errorf("%s does not read %s, or tmpfiles.d does not guard it", unit, installed)
		}
		var env []string
		for _, m := range environment.FindAllStringSubmatch(text, -1) {
			env = append(env, strings.NewReplacer("%S", "/var/lib", "%t", "/run", "%d", "/run/credentials/"+unit).Replace(m[1]))
		}
		sources := printConfig(t, env, program, strings.Fields(strings.Replace(start[2], installed, file, 1))...)
		for key := range set {
			if sources[key] != "file "+file {
				t.Errorf("%s: %s of %s is taken from %q", unit, key, file, sources[key])
			}
		}
		for _, e := range env {
			name, _, _ := strings.Cut(e, "=")
			used := false
			for _, from := range sources {
				used = used || from == "environment "+name
			}
			if !used {
				t.Errorf("%s sets %s, which is not taken", unit, name)
			}
		}
		// What is commented out is right too.
		for _, m := range regexp.MustCompile(`(?m)^# ([a-z_]+): `).FindAllStringSubmatch(read(t, file), -1) {
			if !reference(t).keys[m[1]] {
				t.Errorf("%s shows the key %s, which nothing has", file, m[1])
			}
		}
	}
}

// Users and directories are made as the units need them: here below another root.
func TestUsersAndDirectories(t *testing.T) {
	systemd(t)
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to other users")
	}
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/caracal/admin.env", "etc/caracald/token"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("secret\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := run(t, "systemd-sysusers", "--root="+root, filepath.Join(here, "systemd/sysusers.d/caracal.conf")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := run(t, "systemd-tmpfiles", "--root="+root, "--create", filepath.Join(here, "systemd/tmpfiles.d/caracal.conf")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	users := read(t, filepath.Join(root, "etc/passwd"))
	for unit, user := range units {
		if user == "caracald" != strings.Contains(unit, "caracald") || !regexp.MustCompile(`(?m)^`+user+`:[^:]*:[1-9]\d*:.*:/usr/sbin/nologin$`).MatchString(users) {
			t.Errorf("%s has no user of its own that cannot log in: %s", unit, users)
		}
		if !strings.Contains(read(t, "systemd/"+unit), "\nUser="+user+"\n") {
			t.Errorf("%s does not run as %s", unit, user)
		}
	}
	for name, want := range map[string]fs.FileMode{
		"etc/caracal": fs.ModeDir | 0o750, "etc/caracald": fs.ModeDir | 0o750, "etc/caracal/admin.env": 0o600, "etc/caracald/token": 0o600,
	} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s has the mode %v, want %v (%v)", name, info.Mode(), want, err)
		}
	}
}
