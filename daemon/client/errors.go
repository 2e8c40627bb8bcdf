package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrUnavailable is matched when there was no decision and asking again
	// later may help: nobody listens, the deadline passed (then
	// context.DeadlineExceeded is matched too), the connection broke, or the
	// daemon is overloaded or cannot keep its audit (429 and 5xx).
	ErrUnavailable = errors.New("the daemon is unavailable")
	// ErrRefused is matched whenever the daemon answered and gave no decision;
	// the error is then an *Error.
	ErrRefused = errors.New("the daemon refused")
	// ErrInvalidInput is matched when the input is not one: found by the daemon
	// (400, 413, 422, 431) or before it was asked.
	ErrInvalidInput = errors.New("invalid input")
	// ErrUnauthorized is matched when the daemon wants another token (401, 403).
	ErrUnauthorized = errors.New("unauthorized")
	// ErrBadAnswer is matched when there was an answer that must not be acted on:
	// it cannot be read, lacks what a decision has, uses a word that is not
	// known, or is about another zone, another request or another number of inputs.
	ErrBadAnswer = errors.New("the daemon's answer cannot be used")
	// ErrClosed is matched by calls after Close.
	ErrClosed = errors.New("the client is closed")
)

// Error is a refusal of the daemon: an answer without a decision. It matches
// ErrRefused and the sentinel of its status.
type Error struct {
	// Status is the HTTP status. For one input of a batch it is the status
	// that the same refusal has alone, 0 where the code is not known.
	Status int
	// Code is the daemon's, in snake_case, such as invalid_input or audit_unavailable.
	Code string
	// Description is for people.
	Description string
	// RequestID finds the call in the daemon's log.
	RequestID string
	// RetryAfter is the pause that the daemon asked for; 0 where it did not.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	text := "the daemon refused: " + e.Code
	if e.Description != "" {
		text += ": " + e.Description
	}
	if e.Status != 0 {
		text += fmt.Sprintf(" (%d)", e.Status)
	}
	return text
}

// Is matches the sentinels of the status.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrRefused:
		return true
	case ErrUnavailable:
		return e.Status >= 500 || e.Status == http.StatusTooManyRequests
	case ErrInvalidInput:
		switch e.Status {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity, http.StatusRequestHeaderFieldsTooLarge:
			return true
		}
	case ErrUnauthorized:
		return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
	}
	return false
}

// errorBody is the shape of every refusal.
type errorBody struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

// refusal reads an answer that is not 200.
func refusal(a *answer, requestID string) *Error {
	e := &Error{Status: a.status, RequestID: requestID}
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil && seconds > 0 && seconds <= 3600 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	var body errorBody
	if json.Unmarshal(a.body, &body) == nil && body.Code != "" {
		e.Code, e.Description = body.Code, body.Description
		return e
	}
	if e.Code = strings.ReplaceAll(strings.ToLower(http.StatusText(a.status)), " ", "_"); e.Code == "" {
		e.Code = "unexpected_status"
	}
	return e
}

// statusOf is the status that a code has in an answer of its own.
var statusOf = map[string]int{
	"invalid_input":     http.StatusBadRequest,
	"payload_too_large": http.StatusRequestEntityTooLarge,
	"audit_unavailable": http.StatusServiceUnavailable,
	"overloaded":        http.StatusServiceUnavailable,
	"internal_error":    http.StatusInternalServerError,
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

func badAnswer(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrBadAnswer, fmt.Errorf(format, args...))
}

func invalidInput(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalidInput, fmt.Errorf(format, args...))
}
