package distribution

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/internal/durable"
)

// objectCaching is the Cache-Control of an object, for CDNs before the store:
// what is named by its hash never changes.
const objectCaching = "public, max-age=31536000, immutable"

// prefixPattern is what the driver of files leaves as it is in a file's name.
var prefixPattern = regexp.MustCompile(`^([A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_.-]*$`)

// Store is an object store (S3 and compatible, Google Cloud Storage, Azure
// Blob Storage, a directory) that has each bundle as an object named by its
// hash. Its methods are safe for concurrent use.
type Store struct {
	bucket *blob.Bucket
	name   string
	// files is where a store of files begins their names: the directory and the
	// prefix; "" for any other store.
	files string
}

// OpenStore opens the store of a URL, such as s3://bucket?region=eu-west-1,
// gs://bucket, azblob://container or file:///srv/bundles; prefix=bundles/ in the
// query puts the objects below that. Credentials are found as each cloud's own
// tools find them. Errors match ErrURL where the URL is at fault.
func OpenStore(ctx context.Context, text string) (*Store, error) {
	u, err := parse(text)
	if err != nil {
		return nil, err
	}
	return openStore(ctx, u)
}

func openStore(ctx context.Context, u *url.URL) (*Store, error) {
	s := &Store{name: nameOf(u)}
	if !blob.DefaultURLMux().ValidBucketScheme(u.Scheme) {
		return nil, fmt.Errorf("%w: %s: no store with the scheme %s is known here; there are %v", ErrURL, s.name, u.Scheme, blob.DefaultURLMux().BucketSchemes())
	}
	if u.Scheme == "file" {
		query := u.Query()
		dir, prefix := u.Path, query.Get("prefix")
		if u.Host == "." { // as the driver has it, relative to the working directory
			dir = "." + dir
		}
		if u.Host != "" && u.Host != "." || dir == "" || !prefixPattern.MatchString(prefix) {
			return nil, fmt.Errorf("%w: %s: a directory is file:///absolute/path, or file://./relative/path, with a plain prefix or none", ErrURL, s.name)
		}
		s.files = filepath.FromSlash(strings.TrimSuffix(dir, "/") + "/" + prefix)
		// A temporary file elsewhere could not be renamed into the directory, and
		// what the driver notes beside a file is of no use to anybody here.
		query.Set("no_tmp_dir", "true")
		query.Set("metadata", "skip")
		u = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawQuery: query.Encode()}
	}
	bucket, err := blob.DefaultURLMux().OpenBucketURL(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("%w: opening %s: %w", ErrURL, s.name, err)
	}
	s.bucket = bucket
	return s, nil
}

// Name is the store's URL without what may be secret.
func (s *Store) Name() string { return s.name }

// Close gives back what opening took.
func (s *Store) Close() error {
	if err := s.bucket.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", s.name, err)
	}
	return nil
}

// Get reads a bundle's object.
func (s *Store) Get(ctx context.Context, sha256 string, size int64) (data []byte, err error) {
	if err := checkHash(sha256); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("reading from %s: %w", s.name, err)
		}
	}()
	r, err := s.bucket.NewReader(ctx, sha256, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	if r.Size() > size {
		return nil, tooLong(size)
	}
	return readAtMost(r, size)
}

// Publish makes sure that the store has a bundle, and tells whether it had to
// be written. It never replaces an object: one with other bytes is an error that
// matches ErrConflict. An empty file of a directory is no object: it is what a kill
// may leave of one. The data must have the hash.
func (s *Store) Publish(ctx context.Context, sha256 string, data []byte) (written bool, err error) {
	if err := errors.Join(checkHash(sha256), Verify(data, sha256)); err != nil {
		return false, fmt.Errorf("publishing a bundle: %w", err)
	}
	written, err = s.publish(ctx, sha256, data)
	if err != nil {
		return false, fmt.Errorf("publishing bundle %s to %s: %w", sha256, s.name, err)
	}
	return written, nil
}

func (s *Store) publish(ctx context.Context, sha256 string, data []byte) (written bool, err error) {
	// A store that may not be listed answers that what is missing is forbidden.
	there, err := s.compare(ctx, sha256, int64(len(data)))
	if there || err != nil && gcerrors.Code(err) != gcerrors.PermissionDenied {
		return false, err
	}
	unread := err
	if err = s.write(ctx, sha256, data); errors.Is(err, fs.ErrExist) { // somebody else came first
		if unread != nil {
			return false, unread
		}
		if there, err = s.compare(ctx, sha256, int64(len(data))); err == nil && !there {
			err = errors.New("the object appeared and went away")
		}
		return false, err
	}
	return err == nil, err
}

// write puts the object where there is none, durably. Where there is one the
// error matches fs.ErrExist.
func (s *Store) write(ctx context.Context, sha256 string, data []byte) error {
	if s.files != "" {
		// Not the driver, which looks whether there is a file and renames then: of
		// several writers at once, each would replace what the one before it wrote.
		path := s.files + sha256
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil { // less the umask, as the driver's
			return err
		}
		err := durable.Create(path, data, 0o666)
		if errors.Is(err, fs.ErrExist) && isEmpty(path) {
			return durable.Replace(path, data, 0o666)
		}
		return err
	}
	err := s.bucket.WriteAll(ctx, sha256, data, &blob.WriterOptions{
		ContentType: MediaType, CacheControl: objectCaching, DisableContentTypeDetection: true, IfNotExist: true,
	})
	if gcerrors.Code(err) == gcerrors.FailedPrecondition {
		return fs.ErrExist
	}
	return err
}

// compare tells whether the object is there. It is an error if it is another one; an
// empty file is none yet.
func (s *Store) compare(ctx context.Context, sha256 string, size int64) (there bool, err error) {
	data, err := s.Get(ctx, sha256, size)
	switch {
	case errors.Is(err, ErrMissing):
		return false, nil
	case errors.Is(err, bundle.ErrHash):
		return false, fmt.Errorf("%w: %w", ErrConflict, err)
	case err != nil:
		return false, err
	}
	if err := Verify(data, sha256); err != nil {
		if len(data) == 0 && s.files != "" {
			return false, nil
		}
		return false, fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return true, nil
}

// isEmpty tells whether a file was begun only, by somebody who was killed or is about
// to replace it. Who replaces it meanwhile writes what everybody writes under its hash.
func isEmpty(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() == 0
}
