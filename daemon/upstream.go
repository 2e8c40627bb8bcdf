package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caracalai/caracald/distribution"
)

// upstream is the admin side: several addresses, of which one is used until it fails.
type upstream struct {
	urls   []string
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
			MaxIdleConnsPerHost:   8,
			IdleConnTimeout:       90 * time.Second,
			ResponseHeaderTimeout: c.WatchWait + 15*time.Second,
			ForceAttemptHTTP2:     true,
		},
		// A token must not follow a redirect to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, url := range c.AdminURLs {
		u.urls = append(u.urls, strings.TrimRight(url, "/"))
	}
	return u
}

// refusal is an answer outside 2xx.
type refusal struct {
	status      int
	Code        string `json:"error"`
	Description string `json:"error_description"`
	NextOffset  uint64 `json:"next_offset"`
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the admin side answered %d %s: %s", r.status, r.Code, r.Description)
}

// transient tells whether an error may go away by itself.
func transient(err error) bool {
	if errors.Is(err, distribution.ErrUnavailable) {
		return true
	}
	var r *refusal
	if errors.As(err, &r) {
		return r.status >= 500 || r.status == http.StatusTooManyRequests || r.status == http.StatusRequestTimeout ||
			r.status == http.StatusUnauthorized || r.status == http.StatusForbidden || r.status == http.StatusNotFound
	}
	var network *networkError
	return errors.As(err, &network)
}

// errTooLong is matched when an answer has more bytes than it may.
var errTooLong = errors.New("the answer is too long")

// networkError is that no answer came.
type networkError struct{ err error }

func (e *networkError) Error() string { return e.err.Error() }
func (e *networkError) Unwrap() error { return e.err }

// call makes one call at the address in use; when that fails, the next call
// goes to the next address. status is 2xx where err is nil.
func (u *upstream) call(ctx context.Context, method, path, contentType string, body []byte, most int64) (status int, answer []byte, err error) {
	status, _, answer, err = u.exchange(ctx, method, path, contentType, body, most)
	return status, answer, err
}

// exchange is call, with the headers of the answer.
func (u *upstream) exchange(ctx context.Context, method, path, contentType string, body []byte, most int64) (status int, header http.Header, answer []byte, err error) {
	at := u.next.Load()
	url := u.urls[int(at)%len(u.urls)]
	defer func() {
		var r *refusal
		// One that does not take who this is says nothing of the next: a mirror takes no client certificates.
		if err != nil && !errors.Is(ctx.Err(), context.Canceled) && (!errors.As(err, &r) || r.status >= 500 || r.status == http.StatusUnauthorized) {
			u.next.CompareAndSwap(at, at+1)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, method, url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	if u.token != "" {
		req.Header.Set("Authorization", "Bearer "+u.token)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return 0, nil, nil, &networkError{err}
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return 0, nil, nil, &networkError{fmt.Errorf("%s %s: %w", method, url+path, err)}
	}
	if int64(len(answer)) > most {
		return 0, nil, nil, fmt.Errorf("%s %s: %w: it has more than %d bytes", method, url+path, errTooLong, most)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		r := &refusal{status: resp.StatusCode}
		if json.Unmarshal(answer, r) != nil {
			r.Description = http.StatusText(resp.StatusCode)
		}
		return 0, nil, nil, fmt.Errorf("%s %s: %w", method, url+path, r)
	}
	return resp.StatusCode, resp.Header, answer, nil
}

// rotate turns to the next address: the one in use answers, but not well.
func (u *upstream) rotate() { u.next.Add(1) }

// get reads something of at most so many bytes.
func (u *upstream) get(ctx context.Context, path string, most int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, data, err := u.call(ctx, http.MethodGet, path, "", nil, most)
	return data, err
}

// post sends JSON and reads JSON, where there is some; 204 leaves into alone.
func (u *upstream) post(ctx context.Context, path string, timeout time.Duration, v, into any) (status int, err error) {
	body, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	status, data, err := u.call(ctx, http.MethodPost, path, "application/json", body, 64<<20)
	if err != nil || status == http.StatusNoContent || into == nil {
		return status, err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return status, fmt.Errorf("reading the answer of %s: %w", path, err)
	}
	return status, nil
}
