package distribution

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// web is a source behind a plain web server or a CDN.
type web struct {
	base   *url.URL
	name   string
	client *http.Client
}

func newWeb(u *url.URL) (*web, error) {
	if u.Host == "" {
		return nil, fmt.Errorf("%w: %s has no host", ErrURL, nameOf(u))
	}
	return &web{base: u, name: nameOf(u), client: &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		ForceAttemptHTTP2:     true,
		// What is hashed are the bytes as they are kept.
		DisableCompression: true,
	}}}, nil
}

func (w *web) Name() string { return w.name }

func (w *web) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

// Get asks for the bundle. A user and password in the URL are sent, a query is
// kept: that is how shared access signatures are given.
func (w *web) Get(ctx context.Context, sha256 string, size int64) ([]byte, error) {
	if err := checkHash(sha256); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base.JoinPath(sha256).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", w.name, withoutURL(err))
	}
	req.Header.Set("Accept", MediaType+", application/octet-stream, */*")
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", w.name, withoutURL(err))
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone:
		return nil, fmt.Errorf("%w: %s answered %s", ErrMissing, w.name, resp.Status)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answered %s", w.name, resp.Status)
	case resp.ContentLength > size:
		return nil, tooLong(size)
	}
	return readAtMost(resp.Body, size)
}

// readAtMost reads all there is, of which there may be size bytes.
func readAtMost(r io.Reader, size int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, size+1))
	if err != nil {
		return nil, fmt.Errorf("reading the bundle: %w", err)
	}
	if int64(len(data)) > size {
		return nil, tooLong(size)
	}
	return data, nil
}

// withoutURL is the cause of a failed request: the URL, which http's errors
// repeat, may hold a secret.
func withoutURL(err error) error {
	if e, ok := err.(*url.Error); ok {
		return e.Err
	}
	return err
}
