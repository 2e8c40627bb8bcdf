package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
)

func broken(*http.Request) (*http.Response, error) { return nil, errors.New("the connection broke") }

// answered gives an answer that never reached the control plane.
func answered(status int, body string, header ...string) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	}
}

// lost has the control plane do what is asked, and loses its answer.
func lost(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return nil, errors.New("the connection broke before the answer")
}

// cut gives the answer's beginning only.
func cut(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body := resp.Body
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(body, 5), fails{}), body}
	return resp, nil
}

type fails struct{}

func (fails) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A write whose answer does not arrive is asked again under the same
// Idempotency-Key, and is done once.
func TestWritesAreRetriedAndDoneOnce(t *testing.T) {
	c, f := plane(t)
	for name, how := range map[string]func(*http.Request) (*http.Response, error){
		"not sent": broken, "answer lost": lost, "answer cut": cut,
		"overloaded": answered(503, `{"error":"overloaded"}`), "a gateway": answered(502, "<html>"), "too many": answered(429, `{}`, "Retry-After", "0"),
	} {
		f.asked()
		f.fail(how, how)
		zone, err := c.CreateZone(t.Context(), api.ZoneCreate{Name: name})
		if err != nil || zone.Name != name {
			t.Errorf("%s: %+v, %v", name, zone, err)
		}
		keys := f.asked()
		if len(keys) != 3 || keys[0] == "" || keys[1] != keys[0] || keys[2] != keys[0] {
			t.Errorf("%s: asked with the keys %q", name, keys)
		}
	}
	seen := map[string]int{}
	for zone, err := range client.All(t.Context(), c.Zones) {
		if err != nil {
			t.Fatal(err)
		}
		seen[zone.Name]++
	}
	if len(seen) != 6 {
		t.Errorf("the zones are %v", seen)
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s was created %d times", name, n)
		}
	}
}

func TestRetriesEnd(t *testing.T) {
	c, f := plane(t)
	f.fail(broken, broken, broken, broken, broken)
	if _, err := c.Zones(t.Context(), client.Page{}); err == nil || !strings.Contains(err.Error(), "the connection broke") || len(f.asked()) != 4 {
		t.Errorf("got %v", err)
	}
	f.fail()
	// What another attempt cannot mend is not tried again.
	f.asked()
	for status, sentinel := range map[int]error{
		400: client.ErrInvalid, 401: client.ErrUnauthorized, 403: client.ErrForbidden, 404: client.ErrNotFound, 409: client.ErrConflict, 422: client.ErrInvalid, 413: client.ErrInvalid,
	} {
		f.fail(answered(status, `{"error":"the_code","error_description":"what is wrong"}`, "X-Request-Id", "r-1"))
		_, err := c.Zones(t.Context(), client.Page{})
		var answer *client.Error
		if !errors.Is(err, sentinel) || !errors.As(err, &answer) || answer.Status != status || answer.Code != "the_code" || answer.Description != "what is wrong" || answer.RequestID != "r-1" {
			t.Errorf("%d: got %v", status, err)
		}
		if n := len(f.asked()); n != 1 {
			t.Errorf("%d: asked %d times", status, n)
		}
	}
	// A gateway's page is no answer of the control plane, and is not printed whole.
	f.fail(answered(404, "<html>no such page</html>"))
	if _, err := c.Zones(t.Context(), client.Page{}); !errors.Is(err, client.ErrNotFound) || strings.Contains(err.Error(), "html") {
		t.Errorf("got %v", err)
	}
}

// A caller who waits no longer than a while is not held up by Retry-After.
func TestRetryAfterIsNotLongerThanTheCaller(t *testing.T) {
	c, f := plane(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.fail(func(req *http.Request) (*http.Response, error) {
		time.AfterFunc(50*time.Millisecond, cancel) // in the pause that follows
		return answered(503, `{"error":"overloaded"}`, "Retry-After", "50")(req)
	})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Zones(ctx, client.Page{})
		ended <- err
	}()
	select {
	case err := <-ended:
		if err == nil || len(f.asked()) != 1 {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the call goes on after its context ended")
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := c.Zones(ctx, client.Page{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled, got %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, base := range []string{"", "127.0.0.1:3000", "ftp://host", "http://", "http://a b", "://"} {
		if _, err := client.New(base, token); err == nil {
			t.Errorf("%q was accepted", base)
		}
	}
	c, err := client.New("http://host:1/prefix//", token, client.WithHeader("X-Of", "mine"))
	if err != nil || c.BaseURL() != "http://host:1/prefix" {
		t.Errorf("got %v, %v", c.BaseURL(), err)
	}
}
