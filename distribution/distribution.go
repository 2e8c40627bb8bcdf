// Package distribution moves bundles through places that nobody trusts. A
// control plane publishes them, each under its hash, to an object store; who
// needs one tries sources in order (object stores, web servers behind a CDN, the
// control plane itself) and believes only the bytes that have the hash.
//
// Which object stores there are depends on the drivers of gocloud.dev/blob that
// a binary links: see the package drivers.
package distribution

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/caracalai/caracald/bundle"
)

var (
	// ErrMissing is matched when a source does not have a bundle (yet).
	ErrMissing = errors.New("the bundle is not there")
	// ErrConflict is matched when other bytes than the bundle's are kept under its hash.
	ErrConflict = errors.New("other bytes are kept under the bundle's hash")
	// ErrUnavailable is matched when no source gave a bundle, and trying again may help.
	ErrUnavailable = errors.New("the bundle cannot be had now")
	// ErrURL is matched when a URL names no place that bundles can be in.
	ErrURL = errors.New("unusable URL")
)

// MediaType is the media type of a bundle.
const MediaType = "application/vnd.caracal.bundle+zstd"

// Source is a place that may have bundles. Its methods are safe for concurrent use.
type Source interface {
	// Name is what logs and metrics call the source. It tells no secrets.
	Name() string
	// Get reads what is kept under a hash, 64 lower-case hexadecimal digits. An
	// answer of more than size bytes is an error that matches bundle.ErrHash;
	// whether the bytes have the hash is for the caller to check. Errors match
	// ErrMissing where nothing is kept.
	Get(ctx context.Context, sha256 string, size int64) ([]byte, error)
	// Close gives back what opening took.
	Close() error
}

// Open opens the source of a URL: http and https for a web server that has each
// bundle at the URL's path, a slash and the bundle's hash; any other scheme for
// an object store, as OpenStore takes it.
func Open(ctx context.Context, text string) (Source, error) {
	u, err := parse(text)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		return newWeb(u)
	}
	return openStore(ctx, u)
}

// parse reads a URL. Errors do not repeat it, as it may hold a secret.
func parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	if u.Scheme == "" {
		return nil, fmt.Errorf("%w: %.80q has no scheme, such as https:// or s3://", ErrURL, nameOf(u))
	}
	return u, nil
}

// nameOf is a URL without what may be secret: user, password and query.
func nameOf(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, Opaque: u.Opaque}
	name := strings.TrimRight(shown.String(), "/")
	if prefix := u.Query().Get("prefix"); prefix != "" { // tells two stores of one bucket apart
		name += "?prefix=" + url.QueryEscape(prefix)
	}
	return name
}

var hashPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checkHash refuses what would not be a bundle's name.
func checkHash(sha256 string) error {
	if !hashPattern.MatchString(sha256) {
		return fmt.Errorf("%w: %.80q is no SHA-256 in lower-case hexadecimal digits", bundle.ErrFormat, sha256)
	}
	return nil
}

// Verify compares bytes with the hash they were asked for by. The error matches
// bundle.ErrHash.
func Verify(data []byte, sha256 string) error {
	if got := bundle.SHA256Hex(data); got != sha256 {
		return fmt.Errorf("%w: the bundle's SHA-256 is %s, not %s", bundle.ErrHash, got, sha256)
	}
	return nil
}

// tooLong is that a source has more bytes under a hash than the bundle's.
func tooLong(size int64) error {
	return fmt.Errorf("%w: there are more than the bundle's %d bytes", bundle.ErrHash, size)
}
