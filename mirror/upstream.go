package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
)

// upstream is the control plane: several addresses, of which one is used until
// it fails.
type upstream struct {
	bases  []*url.URL
	token  string
	client *http.Client
	next   atomic.Uint32
}

func newUpstream(c *Config) *upstream {
	u := &upstream{token: c.Token, client: &http.Client{
		Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSClientConfig:       c.AdminTLS,
			TLSHandshakeTimeout:   5 * time.Second,
			MaxIdleConnsPerHost:   64,
			IdleConnTimeout:       90 * time.Second,
			ResponseHeaderTimeout: c.WatchWait + 30*time.Second,
			ForceAttemptHTTP2:     true,
			DisableCompression:    true,
		},
		// A token must not follow a redirect to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, text := range c.AdminURLs {
		base, err := url.Parse(strings.TrimRight(text, "/"))
		if err == nil { // prepare has looked at them
			u.bases = append(u.bases, base)
		}
	}
	return u
}

// address is the one in use, and its place among all.
func (u *upstream) address() (*url.URL, uint32) {
	at := u.next.Load()
	return u.bases[int(at)%len(u.bases)], at
}

// failed turns away from an address, unless that was done already.
func (u *upstream) failed(at uint32) { u.next.CompareAndSwap(at, at+1) }

// errUnreachable is matched when no address gave an answer of its own: there was
// none, or it says that the control plane cannot answer now.
var errUnreachable = errors.New("the control plane cannot be reached")

// refusal is an answer that is not 2xx.
type refusal struct {
	status      int
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the control plane answered %d %s: %s", r.status, r.Code, r.Description)
}

// do makes one call with a token; an empty one is none. An address that fails
// makes way for the next.
func (u *upstream) do(ctx context.Context, method, path, token string, body []byte, most int64) (status int, answer []byte, err error) {
	for range u.bases {
		base, at := u.address()
		status, answer, err = u.once(ctx, base, method, path, token, body, most)
		if err == nil || !errors.Is(err, errUnreachable) || ctx.Err() != nil {
			return status, answer, err
		}
		u.failed(at)
	}
	return status, answer, err
}

func (u *upstream) once(ctx context.Context, base *url.URL, method, path, token string, body []byte, most int64) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, base.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("%w: %s %s: %w", errUnreachable, method, path, err)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		r := &refusal{status: resp.StatusCode}
		if json.Unmarshal(answer, r) != nil {
			r.Description = http.StatusText(resp.StatusCode)
		}
		if r.status >= 500 || r.status == http.StatusTooManyRequests {
			return 0, nil, fmt.Errorf("%w: %w", errUnreachable, r)
		}
		return 0, nil, fmt.Errorf("%s %s: %w", method, path, r)
	case int64(len(answer)) > most:
		return 0, nil, fmt.Errorf("%s %s: %w: the answer has more than %d bytes", method, path, bundle.ErrHash, most)
	}
	return resp.StatusCode, answer, nil
}

// watch makes one long poll with a token.
func (u *upstream) watch(ctx context.Context, token string, req bundle.WatchRequest) (bundle.WatchResponse, error) {
	var out bundle.WatchResponse
	body, err := json.Marshal(req)
	if err != nil {
		return out, fmt.Errorf("watching the pointers: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(req.WaitSeconds)*time.Second+20*time.Second)
	defer cancel()
	status, answer, err := u.do(ctx, http.MethodPost, "/v1/pointers/watch", token, body, 256<<20)
	if err != nil || status == http.StatusNoContent {
		return out, err
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return out, fmt.Errorf("reading the pointers: %w: %w", bundle.ErrFormat, err)
	}
	return out, nil
}

// upstreamSource is the control plane as a source of bundles.
type upstreamSource struct{ up *upstream }

func (s upstreamSource) Name() string { return "admin" }

func (s upstreamSource) Get(ctx context.Context, sha256 string, size int64) ([]byte, error) {
	_, data, err := s.up.do(ctx, http.MethodGet, "/v1/bundles/"+sha256, s.up.token, nil, size)
	var r *refusal
	if errors.As(err, &r) && r.status == http.StatusNotFound {
		return nil, fmt.Errorf("%w: %w", distribution.ErrMissing, err)
	}
	return data, err
}

func (s upstreamSource) Close() error { return nil }
