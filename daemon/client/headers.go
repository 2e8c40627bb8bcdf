package client

import (
	"context"
	"crypto/rand"
	"strings"
)

// Headers are what Config.Inject adds to a call. They are what OpenTelemetry
// calls a TextMapCarrier.
type Headers struct{ list *[]header }

type header struct{ name, value string }

// reserved are the headers that are the client's own.
var reserved = map[string]bool{
	"host": true, "content-length": true, "content-type": true, "transfer-encoding": true, "connection": true, "expect": true, "upgrade": true,
	"te": true, "trailer": true, "authorization": true, "x-request-id": true, "accept": true, "accept-encoding": true, "user-agent": true,
}

// Set adds or replaces a header. One that is the client's own, or that HTTP
// cannot carry, is left out.
func (h Headers) Set(name, value string) {
	if !headerName(name) || !headerValue(value) || reserved[strings.ToLower(name)] {
		return
	}
	for i := range *h.list {
		if strings.EqualFold((*h.list)[i].name, name) {
			(*h.list)[i].value = value
			return
		}
	}
	*h.list = append(*h.list, header{name, value})
}

// Get gives a header that was set, or "".
func (h Headers) Get(name string) string {
	for _, have := range *h.list {
		if strings.EqualFold(have.name, name) {
			return have.value
		}
	}
	return ""
}

// Keys lists the names that were set.
func (h Headers) Keys() []string {
	names := make([]string, 0, len(*h.list))
	for _, have := range *h.list {
		names = append(names, have.name)
	}
	return names
}

func headerName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}

func headerValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

type requestIDKey struct{}

// WithRequestID names the calls made with a context: [A-Za-z0-9_.:-]{1,128}. The
// id is in the audit record and in the Decision. Without it each call gets one
// by chance.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// requestID is the id of a call. The answer has to bear it, so an id that the
// daemon would replace by another is refused.
func requestID(ctx context.Context) (string, error) {
	id, ok := ctx.Value(requestIDKey{}).(string)
	if !ok {
		return rand.Text(), nil // 130 bits
	}
	if len(id) == 0 || len(id) > 128 {
		return "", invalidInput("the request id has %d bytes; 1 to 128 are accepted", len(id))
	}
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != ':' && c != '-' {
			return "", invalidInput("the request id %q has other characters than A-Za-z0-9_.:-", id)
		}
	}
	return id, nil
}
