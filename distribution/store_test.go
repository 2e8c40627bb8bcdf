package distribution_test

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob"
	_ "gocloud.dev/blob/memblob"
	_ "gocloud.dev/blob/s3blob"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
)

// stores gives the URL of an empty store of each kind that can be had here, by
// the kind, and a way around distribution to its objects.
func stores(t *testing.T) map[string]string {
	t.Setenv("AWS_ACCESS_KEY_ID", "key-of-the-test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-test")
	backend := s3mem.New()
	if err := backend.CreateBucket("bundles"); err != nil {
		t.Fatal(err)
	}
	s3 := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s3.Close)
	query := url.Values{"endpoint": {s3.URL}, "use_path_style": {"true"}, "region": {"eu-west-1"}}
	below := url.Values{"prefix": {"caracal/bundles/"}}
	return map[string]string{
		"directory":              "file://" + t.TempDir(),
		"directory below prefix": "file://" + t.TempDir() + "?" + below.Encode(),
		"S3":                     "s3://bundles?" + query.Encode(),
	}
}

func open(t *testing.T, text string) *distribution.Store {
	t.Helper()
	s, err := distribution.OpenStore(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestPublish: what is published can be read as a source, publishing again
// writes nothing, and what is under a hash is never replaced.
func TestPublish(t *testing.T) {
	for kind, text := range stores(t) {
		t.Run(kind, func(t *testing.T) {
			s := open(t, text)
			data := bytes.Repeat([]byte("bundle "), 1000)
			hash := bundle.SHA256Hex(data)
			if _, err := s.Get(t.Context(), hash, int64(len(data))); !errors.Is(err, distribution.ErrMissing) {
				t.Fatalf("reading what is not there: %v", err)
			}
			for i, want := range []bool{true, false, false} {
				if written, err := s.Publish(t.Context(), hash, data); err != nil || written != want {
					t.Fatalf("publishing %d: %v %v", i, written, err)
				}
			}
			source, err := distribution.Open(t.Context(), text)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = source.Close() }()
			if got, err := source.Get(t.Context(), hash, int64(len(data))); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("reading: %d bytes, %v", len(got), err)
			}
			if _, err := source.Get(t.Context(), hash, int64(len(data))-1); !errors.Is(err, bundle.ErrHash) {
				t.Fatalf("reading more than the bundle has: %v", err)
			}
			if _, err := s.Publish(t.Context(), hash, append(data, 'x')); !errors.Is(err, bundle.ErrHash) {
				t.Fatalf("publishing under a wrong hash: %v", err)
			}
			around, err := blob.OpenBucket(t.Context(), text)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = around.Close() }()
			others := map[string][]byte{"same size": bytes.ToUpper(data), "shorter": data[:10], "longer": append(bytes.Clone(data), '.')}
			if kind == "S3" { // see TestPublishOverEmpty
				others["empty"] = []byte{}
			}
			for name, bad := range others {
				if err := around.WriteAll(t.Context(), hash, bad, nil); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Publish(t.Context(), hash, data); !errors.Is(err, distribution.ErrConflict) {
					t.Errorf("%s: publishing where other bytes are: %v", name, err)
				}
				if kept, err := around.ReadAll(t.Context(), hash); err != nil || !bytes.Equal(kept, bad) {
					t.Errorf("%s: what was there was replaced", name)
				}
			}
		})
	}
}

// TestPublishAtOnce: replicas that publish the same bundle at once write it once.
func TestPublishAtOnce(t *testing.T) {
	for kind, text := range stores(t) {
		t.Run(kind, func(t *testing.T) {
			s := open(t, text)
			data := []byte("one bundle")
			var written atomic.Int64
			var work sync.WaitGroup
			for range 16 {
				work.Go(func() {
					ok, err := s.Publish(t.Context(), bundle.SHA256Hex(data), data)
					if err != nil {
						t.Error(err)
					}
					if ok {
						written.Add(1)
					}
				})
			}
			work.Wait()
			if written.Load() != 1 {
				t.Errorf("the bundle was written %d times", written.Load())
			}
		})
	}
}

// TestPublishOverEmpty: the empty file that a killed process may leave in a directory
// is not taken for the bundle, nor for another one, by however many at once.
func TestPublishOverEmpty(t *testing.T) {
	dir := t.TempDir()
	s := open(t, "file://"+dir)
	data := []byte("one bundle")
	hash := bundle.SHA256Hex(data)
	if err := os.WriteFile(filepath.Join(dir, hash), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var written atomic.Int64
	var work sync.WaitGroup
	for range 16 {
		work.Go(func() {
			ok, err := s.Publish(t.Context(), hash, data)
			if err != nil {
				t.Error(err)
			}
			if ok {
				written.Add(1)
			}
		})
	}
	work.Wait()
	if written.Load() == 0 {
		t.Error("nobody wrote the bundle")
	}
	if got, err := s.Get(t.Context(), hash, int64(len(data))); err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %q, %v", got, err)
	}
	if ok, err := s.Publish(t.Context(), hash, data); ok || err != nil {
		t.Errorf("publishing again: %v, %v", ok, err)
	}
}

// TestDirectoryHoldsBundlesAlone: a directory can be served by a web server as it
// is: files named by their hashes, and nothing else.
func TestDirectoryHoldsBundlesAlone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, "file://"+dir+"?prefix=bundles/")
	data := []byte("a bundle")
	if _, err := s.Publish(t.Context(), bundle.SHA256Hex(data), data); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(files) != 1 || files[0] != filepath.Join(dir, "bundles", bundle.SHA256Hex(data)) {
		t.Fatalf("%v %v", files, err)
	}
	if kept, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(kept, data) {
		t.Fatalf("%q %v", kept, err)
	}
}

// TestURLs: what cannot be used is named, without what may be secret.
func TestURLs(t *testing.T) {
	for _, text := range []string{
		"", "bundles", "/srv/bundles", "nope://bucket", "https://", "file://host/dir", "file:///dir?prefix=../up/", "file:///does/not/exist",
		"https://user:hunter2@", "nope://u:hunter2@bucket?key=hunter2", "http://%zz:hunter2@x/",
	} {
		s, err := distribution.Open(context.Background(), text)
		if !errors.Is(err, distribution.ErrURL) {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && bytes.Contains([]byte(err.Error()), []byte("hunter2")) {
			t.Errorf("the error tells a secret: %v", err)
		}
		if err == nil {
			_ = s.Close()
		}
	}
}

// FuzzURL: no URL makes opening a web server panic, and no name tells user,
// password or query.
func FuzzURL(f *testing.F) {
	f.Add("https://user:hunter2@cdn.example/bundles?sig=hunter2")
	f.Add("http://[::1]:80/%2f?prefix=a")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err == nil && u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "" {
			return // opening others may touch the machine
		}
		s, err := distribution.Open(context.Background(), text)
		if err != nil {
			if !errors.Is(err, distribution.ErrURL) {
				t.Fatal(err)
			}
			return
		}
		defer func() { _ = s.Close() }()
		shown, err := url.Parse(s.Name())
		if err != nil {
			return // a name is for people
		}
		if shown.User != nil || shown.Query().Has("sig") {
			t.Fatalf("%q is called %q", text, s.Name())
		}
	})
}
