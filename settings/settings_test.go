package settings_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/caracalai/caracald/settings"
)

type sample struct {
	Addr   string            `name:"listen-addr" doc:"where to listen"`
	Wait   time.Duration     `name:"wait" doc:"how long"`
	Size   int64             `name:"max-bytes" doc:"how much"`
	Zones  []string          `name:"zone" doc:"which zones"`
	Labels map[string]string `name:"label" doc:"labels"`
	Quick  bool              `name:"quick" doc:"whether to hurry"`
	Token  string            `name:"token" doc:"a secret" secret:"true"`
}

func load(t *testing.T, file string, env map[string]string, args ...string) (*settings.Loaded[sample], error) {
	t.Helper()
	for k, v := range env {
		t.Setenv(k, v)
	}
	if file != "" {
		path := filepath.Join(t.TempDir(), "settings.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	loader := settings.Bind(flags, "SAMPLE", sample{Addr: "default", Wait: time.Second})
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return loader.Load()
}

func TestPrecedence(t *testing.T) {
	file := "listen_addr: from-file\nwait: 2s\nmax_bytes: 5\nzone: [a, b]\nlabel: {x: y}\n"
	tests := []struct {
		name string
		file string
		env  map[string]string
		args []string
		want sample
	}{
		{name: "defaults", want: sample{Addr: "default", Wait: time.Second}},
		{name: "file over defaults", file: file, want: sample{Addr: "from-file", Wait: 2 * time.Second, Size: 5, Zones: []string{"a", "b"}, Labels: map[string]string{"x": "y"}}},
		{
			name: "environment over file", file: file,
			env:  map[string]string{"SAMPLE_LISTEN_ADDR": "from-env", "SAMPLE_ZONE": "c, d", "SAMPLE_LABEL": "p=q,r=s", "SAMPLE_QUICK": "true"},
			want: sample{Addr: "from-env", Wait: 2 * time.Second, Size: 5, Zones: []string{"c", "d"}, Labels: map[string]string{"p": "q", "r": "s"}, Quick: true},
		},
		{
			name: "flag over environment", file: file,
			env:  map[string]string{"SAMPLE_LISTEN_ADDR": "from-env", "SAMPLE_WAIT": "3s", "SAMPLE_MAX_BYTES": "6"},
			args: []string{"--listen-addr", "from-flag", "--wait=4s", "--max-bytes=7", "--zone=e", "--zone=f", "--label=a=b"},
			want: sample{Addr: "from-flag", Wait: 4 * time.Second, Size: 7, Zones: []string{"e", "f"}, Labels: map[string]string{"a": "b"}},
		},
		{name: "a flag may set the default's value", env: map[string]string{"SAMPLE_LISTEN_ADDR": "from-env"}, args: []string{"--listen-addr=default"}, want: sample{Addr: "default", Wait: time.Second}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := load(t, tt.file, tt.env, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.Settings); diff != "" {
				t.Error("settings (-want +got):\n" + diff)
			}
		})
	}
}

func TestErrorsNameTheSetting(t *testing.T) {
	tests := []struct {
		name string
		file string
		env  map[string]string
		want []string
	}{
		{name: "unknown key", file: "listen_adr: x\n", want: []string{"listen_adr", "unknown"}},
		{name: "not YAML", file: "a: b: c\n", want: []string{"settings.yaml"}},
		{name: "bad duration in the file", file: "wait: soon\n", want: []string{"wait", "settings.yaml", "soon"}},
		{name: "duration without a unit", file: "wait: 5\n", want: []string{"wait", "duration"}},
		{name: "bad number in the environment", env: map[string]string{"SAMPLE_MAX_BYTES": "many"}, want: []string{"max-bytes", "SAMPLE_MAX_BYTES"}},
		{name: "bad map", env: map[string]string{"SAMPLE_LABEL": "x"}, want: []string{"label", "name=value"}},
		{name: "bad boolean", env: map[string]string{"SAMPLE_QUICK": "perhaps"}, want: []string{"quick"}},
		{name: "a list for text", file: "listen_addr: [a, b]\n", want: []string{"listen-addr"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.file, tt.env)
			if !errors.Is(err, settings.ErrInvalid) {
				t.Fatalf("error %v does not match ErrInvalid", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not mention %q", err, want)
				}
			}
		})
	}
}

func TestPrintedSettingsLoadAgain(t *testing.T) {
	first, err := load(t, "", map[string]string{"SAMPLE_WAIT": "90s"}, "--zone=a,b", "--token=hush", "--label=k=v")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := first.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"environment SAMPLE_WAIT", "flag --zone", "# from: default", "# where to listen"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("printed settings lack %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "hush") {
		t.Error("the secret was printed")
	}
	if err := os.Unsetenv("SAMPLE_WAIT"); err != nil {
		t.Fatal(err)
	}
	again, err := load(t, out.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	first.Settings.Token, again.Settings.Token = "", ""
	if diff := cmp.Diff(first.Settings, again.Settings); diff != "" {
		t.Error("settings loaded from what was printed (-first +again):\n" + diff)
	}
}

func TestInvalidNamesTheSource(t *testing.T) {
	loaded, err := load(t, "listen_addr: nowhere\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	err = loaded.Invalid("listen-addr", errors.New("cannot listen"))
	for _, want := range []string{"listen-addr", "settings.yaml", "cannot listen"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not mention %q", err, want)
		}
	}
}

// Every setting of both binaries is documented and can be bound.
func TestEverySettingIsDocumented(t *testing.T) {
	flags := map[string]*pflag.FlagSet{"daemon": {}, "admin": {}, "dev": {}}
	settings.Bind(flags["daemon"], "CARACALD", settings.DefaultDaemon())
	settings.Bind(flags["admin"], "CARACAL_ADMIN", settings.DefaultAdmin())
	settings.Bind(flags["dev"], "CARACAL_DEV", settings.DefaultDev())
	for name, set := range flags {
		set.VisitAll(func(f *pflag.Flag) {
			if doc, _, _ := strings.Cut(f.Usage, " [$"); doc == "" {
				t.Errorf("%s: --%s has no documentation", name, f.Name)
			}
		})
	}
}
