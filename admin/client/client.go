// Package client is the Go client of the admin API: one method for each call.
//
// Calls are retried where that is safe. Reads are; so are writes, because each
// carries an Idempotency-Key that the control plane honours.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/policy"
)

var (
	// ErrUnauthorized is matched when the token is missing, wrong, expired or revoked.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden is matched when the token's role or zone does not reach.
	ErrForbidden = errors.New("forbidden")
	// ErrNotFound is matched when what was asked for is not there.
	ErrNotFound = errors.New("not found")
	// ErrConflict is matched when a name is taken or an expectation does not hold.
	ErrConflict = errors.New("conflict")
	// ErrInvalid is matched when the control plane refused what was sent.
	ErrInvalid = errors.New("invalid")
)

// Error is an answer outside 2xx. It matches one of the sentinels by its status.
type Error struct {
	Status      int
	Code        string
	Description string
	// Errors has the places, where content was refused.
	Errors []policy.ContentError
	// RequestID finds the call in the control plane's log.
	RequestID string
}

func (e *Error) Error() string {
	if e.Description == "" {
		return fmt.Sprintf("%s (%d)", e.Code, e.Status)
	}
	return fmt.Sprintf("%s: %s (%d)", e.Code, e.Description, e.Status)
}

// Is matches the sentinel of the status.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrUnauthorized:
		return e.Status == http.StatusUnauthorized
	case ErrForbidden:
		return e.Status == http.StatusForbidden
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrConflict:
		return e.Status == http.StatusConflict
	case ErrInvalid:
		return e.Status == http.StatusBadRequest || e.Status == http.StatusUnprocessableEntity || e.Status == http.StatusRequestEntityTooLarge
	}
	return false
}

// maxAnswer bounds an answer that is read whole.
const maxAnswer = 64 << 20

// Client calls one control plane. Its methods may be used at once.
type Client struct {
	base    *url.URL
	token   string
	http    *http.Client
	timeout time.Duration
	retries uint
	pause   time.Duration
	header  http.Header
}

// Option changes how a client calls.
type Option func(*Client)

// WithHTTPClient uses another HTTP client, for example for TLS. Its Timeout
// must be zero: tails and exports stay open for long.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithTimeout bounds each attempt of a call that is read whole. Default 30 s.
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// WithRetries says how often a failed call is tried again, and the pause
// before the first time, which grows. Default 3 and 200 ms.
func WithRetries(n uint, pause time.Duration) Option {
	return func(c *Client) { c.retries, c.pause = n, pause }
}

// WithHeader adds a header to every call.
func WithHeader(name, value string) Option { return func(c *Client) { c.header.Add(name, value) } }

// New makes a client for the control plane at a URL such as http://127.0.0.1:3000.
func New(baseURL, token string, options ...Option) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil && !strings.Contains(baseURL, "://") {
		err = fmt.Errorf("%q does not begin with http:// or https://", baseURL)
	}
	if err != nil {
		return nil, fmt.Errorf("the control plane's URL: %w", err)
	}
	if (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, fmt.Errorf("the control plane's URL: %q is no http or https URL", baseURL)
	}
	base.Path = strings.TrimRight(base.Path, "/")
	c := &Client{base: base, token: token, http: &http.Client{}, timeout: 30 * time.Second, retries: 3, pause: 200 * time.Millisecond,
		header: http.Header{"User-Agent": {"caracal-go"}}}
	for _, o := range options {
		o(c)
	}
	return c, nil
}

// BaseURL is the control plane's address.
func (c *Client) BaseURL() string { return c.base.String() }

// path joins segments, each escaped.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// request makes the request of one attempt.
func (c *Client) request(ctx context.Context, method, path string, query url.Values, body []byte, key string) (*http.Request, error) {
	target := c.base.String() + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	return req, nil
}

// call makes a call and reads its answer whole, trying again where that may help.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in any) ([]byte, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, fmt.Errorf("encoding the body of %s %s: %w", method, path, err)
		}
	}
	key := ""
	if method == http.MethodPost {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		key = id.String()
	}
	data, err := backoff.Retry(ctx, func() ([]byte, error) {
		attempt, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		data, err := c.once(attempt, method, path, query, body, key)
		if err != nil && ctx.Err() != nil {
			return nil, backoff.Permanent(ctx.Err())
		}
		return data, err
	}, backoff.WithBackOff(c.backOff()), backoff.WithMaxTries(c.retries+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, unwrap(err))
	}
	return data, nil
}

func (c *Client) backOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = c.pause, 10*time.Second, 2
	return b
}

// unwrap takes off what the retrying put around an error.
func unwrap(err error) error {
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		return permanent.Err
	}
	var later *retryAfter
	if errors.As(err, &later) {
		return later.answer
	}
	return err
}

// maxRetryAfter is the longest pause that a control plane may ask for.
const maxRetryAfter = time.Minute

// retryAfter is a refusal that says when to come again.
type retryAfter struct {
	*backoff.RetryAfterError
	answer *Error
}

func (e *retryAfter) Unwrap() []error { return []error{e.RetryAfterError, e.answer} }

// once makes one attempt. An error that another attempt cannot help is permanent.
func (c *Client) once(ctx context.Context, method, path string, query url.Values, body []byte, key string) ([]byte, error) {
	req, err := c.request(ctx, method, path, query, body, key)
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if len(data) > maxAnswer {
		return nil, backoff.Permanent(fmt.Errorf("the answer has more than %d bytes", maxAnswer))
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return data, nil
	}
	answer := readError(resp, data)
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds >= 0 {
			pause := min(time.Duration(seconds)*time.Second, maxRetryAfter)
			return nil, &retryAfter{&backoff.RetryAfterError{Duration: pause}, answer}
		}
		return nil, answer
	}
	return nil, backoff.Permanent(answer)
}

func readError(resp *http.Response, data []byte) *Error {
	e := &Error{Status: resp.StatusCode, RequestID: resp.Header.Get("X-Request-Id")}
	var body api.Error
	if json.Unmarshal(data, &body) == nil && body.Code != "" {
		e.Code, e.Description, e.Errors = body.Code, body.Description, body.Errors
		return e
	}
	e.Code = strings.ReplaceAll(strings.ToLower(http.StatusText(resp.StatusCode)), " ", "_")
	return e
}

// get and send make a call whose answer is JSON of type T.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	return send[T](ctx, c, http.MethodGet, path, query, nil)
}

func send[T any](ctx context.Context, c *Client, method, path string, query url.Values, in any) (T, error) {
	var out T
	data, err := c.call(ctx, method, path, query, in)
	if err != nil || len(data) == 0 {
		return out, err
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return out, fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	return out, nil
}
