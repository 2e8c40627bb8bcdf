// Package settings fills a documented struct of settings for each binary from,
// in this order of precedence, command line flags, environment variables and a
// YAML file, over the defaults that the struct comes with. It can print what
// came of it and where each value is from.
//
// A field takes part when it has a `name` tag, such as `name:"decide-addr"`.
// The flag is --decide-addr, the variable PREFIX_DECIDE_ADDR, the key in the
// file decide_addr. The `doc` tag explains the field; `secret:"true"` keeps its
// value from being printed.
package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
	yamlv3 "go.yaml.in/yaml/v3"
)

// ErrInvalid is matched when a setting cannot be used. The error names it and
// where it came from.
var ErrInvalid = errors.New("invalid settings")

// Loader binds one struct of settings to flags, environment and file.
type Loader[T any] struct {
	prefix   string
	defaults T
	fields   []setting
	flags    *pflag.FlagSet
	file     string
}

// setting is one field of a struct that takes part.
type setting struct {
	index  int
	name   string // as in the flag
	key    string // as in the file
	env    string
	doc    string
	secret bool
	kind   reflect.Type
}

// Bind registers a flag for each field of T, and --config for the file.
// prefix begins the names of environment variables, such as "CARACALD".
// It panics where T has a field of a type that settings cannot have, which
// no user's input can bring about.
func Bind[T any](flags *pflag.FlagSet, prefix string, defaults T) *Loader[T] {
	l := &Loader[T]{prefix: prefix, defaults: defaults, flags: flags}
	v := reflect.ValueOf(defaults)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("name")
		if name == "" {
			continue
		}
		key := strings.ReplaceAll(name, "-", "_")
		s := setting{
			index: i, name: name, key: key, env: prefix + "_" + strings.ToUpper(key),
			doc: f.Tag.Get("doc"), secret: f.Tag.Get("secret") == "true", kind: f.Type,
		}
		l.fields = append(l.fields, s)
		usage := s.doc + " [$" + s.env + "]"
		switch d := v.Field(i).Interface().(type) {
		case string:
			flags.String(name, d, usage)
		case bool:
			flags.Bool(name, d, usage)
		case int:
			flags.Int(name, d, usage)
		case int64:
			flags.Int64(name, d, usage)
		case float64:
			flags.Float64(name, d, usage)
		case time.Duration:
			flags.Duration(name, d, usage)
		case []string:
			flags.StringSlice(name, d, usage)
		case map[string]string:
			flags.StringToString(name, d, usage)
		default:
			panic(fmt.Sprintf("settings: field %s has the type %s", f.Name, f.Type))
		}
	}
	flags.StringVar(&l.file, "config", os.Getenv(prefix+"_CONFIG"), "YAML file of settings [$"+prefix+"_CONFIG]")
	return l
}

// Loaded is settings with the source of each value.
type Loaded[T any] struct {
	Settings T
	fields   []setting
	sources  map[string]string
}

// Load fills the settings in. It is called after the flags were parsed.
func (l *Loader[T]) Load() (*Loaded[T], error) {
	out := &Loaded[T]{Settings: l.defaults, fields: l.fields, sources: map[string]string{}}
	k := koanf.New("\x00") // keys are flat
	if l.file != "" {
		if err := k.Load(file.Provider(l.file), yaml.Parser()); err != nil {
			return nil, fmt.Errorf("%w: reading %s: %w", ErrInvalid, l.file, err)
		}
		for _, key := range k.Keys() {
			top, _, _ := strings.Cut(key, "\x00")
			if !slices.ContainsFunc(l.fields, func(s setting) bool { return s.key == top }) {
				return nil, fmt.Errorf("%w: %s has the unknown setting %s", ErrInvalid, l.file, top)
			}
			out.sources[top] = "file " + l.file
		}
	}
	values := map[string]any{}
	for _, s := range l.fields {
		if text, ok := os.LookupEnv(s.env); ok {
			values[s.key], out.sources[s.key] = text, "environment "+s.env
		}
		if f := l.flags.Lookup(s.name); f.Changed {
			values[s.key], out.sources[s.key] = flagValue(l.flags, f), "flag --"+s.name
		}
		if v, ok := values[s.key]; ok {
			k.Delete(s.key) // a map is replaced, not merged
			if err := k.Load(confmap.Provider(map[string]any{s.key: v}, ""), nil); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, s.name, err)
			}
		}
	}
	target := reflect.ValueOf(&out.Settings).Elem()
	for _, s := range l.fields {
		if _, set := out.sources[s.key]; !set {
			continue
		}
		value := reflect.New(s.kind)
		if err := decode(k.Get(s.key), value.Interface()); err != nil {
			if !s.secret {
				err = fmt.Errorf("%v: %w", k.Get(s.key), err)
			}
			return nil, fmt.Errorf("%w: %s (from %s): %w", ErrInvalid, s.name, out.sources[s.key], err)
		}
		target.Field(s.index).Set(value.Elem())
	}
	return out, nil
}

// Invalid makes the error of a setting that can be read but not used.
func (l *Loaded[T]) Invalid(name string, err error) error {
	return fmt.Errorf("%w: %w", ErrInvalid, l.Failed(name, err))
}

// Failed makes the error of what a setting names and which did not do: a port that
// is taken, say. The setting may be right, so it is not ErrInvalid.
func (l *Loaded[T]) Failed(name string, err error) error {
	source := l.sources[strings.ReplaceAll(name, "-", "_")]
	if source == "" {
		source = "default"
	}
	return fmt.Errorf("%s (from %s): %w", name, source, err)
}

func flagValue(flags *pflag.FlagSet, f *pflag.Flag) any {
	if s, ok := f.Value.(pflag.SliceValue); ok {
		return s.GetSlice()
	}
	if f.Value.Type() == "stringToString" {
		if m, err := flags.GetStringToString(f.Name); err == nil {
			return m
		}
	}
	return f.Value.String()
}

// decode converts what a file, variable or flag holds; text becomes what the
// field needs, lists are separated by commas, maps are k=v lists.
func decode(from, into any) error {
	d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result:           into,
		WeaklyTypedInput: true,
		DecodeHook:       mapstructure.ComposeDecodeHookFunc(textToMap, mapstructure.StringToTimeDurationHookFunc(), textToList),
	})
	if err != nil {
		return err
	}
	if into, ok := into.(*time.Duration); ok {
		if _, text := from.(string); !text {
			return fmt.Errorf("%v is not a duration such as 30s (%T)", from, *into)
		}
	}
	return d.Decode(from)
}

func textToList(from, to reflect.Type, v any) (any, error) {
	if from.Kind() != reflect.String || to.Kind() != reflect.Slice {
		return v, nil
	}
	list := []string{}
	for item := range strings.SplitSeq(v.(string), ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list, nil
}

func textToMap(from, to reflect.Type, v any) (any, error) {
	if from.Kind() != reflect.String || to.Kind() != reflect.Map {
		return v, nil
	}
	m := map[string]string{}
	for pair := range strings.SplitSeq(v.(string), ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		k, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not name=value", pair)
		}
		m[strings.TrimSpace(k)] = strings.TrimSpace(value)
	}
	return m, nil
}

// Print writes the settings as a YAML file that would bring them about, with
// what each means and where its value is from. Secrets are not shown.
func (l *Loaded[T]) Print(w io.Writer) error {
	v := reflect.ValueOf(l.Settings)
	for _, s := range l.fields {
		value := v.Field(s.index).Interface()
		if s.secret && !v.Field(s.index).IsZero() {
			value = "(secret)"
		}
		if d, ok := value.(time.Duration); ok {
			value = d.String()
		}
		source := l.sources[s.key]
		if source == "" {
			source = "default"
		}
		text, err := yamlv3.Marshal(map[string]any{s.key: value})
		if err != nil {
			return fmt.Errorf("printing %s: %w", s.name, err)
		}
		if _, err := fmt.Fprintf(w, "# %s\n# from: %s\n%s\n", s.doc, source, text); err != nil {
			return err
		}
	}
	return nil
}
