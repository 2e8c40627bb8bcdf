package admin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	jsonx "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

const (
	// maxBody is the most bytes of a JSON body.
	maxBody = 8 << 20
	// drainedBody is the most bytes of a body that is too long that are still taken
	// in, and left.
	drainedBody = 64 << 20
)

// call is one authenticated request on its way through the API.
type call struct {
	r         *http.Request
	actor     actor
	requestID string
	now       time.Time
}

// path gives a path parameter.
func (c *call) path(name string) string { return c.r.PathValue(name) }

// zone gives the zone in the path, "" where the path has none.
func (c *call) zone() string { return c.r.PathValue("zone") }

// Page sizes.
const (
	defaultLimit = 200
	maxLimit     = 500
)

// page reads limit and cursor.
func (c *call) page() (limit int, after store.Cursor, err error) {
	if limit, err = c.limit(); err != nil {
		return 0, after, err
	}
	if text := c.r.URL.Query().Get("cursor"); text != "" {
		if after, err = parseCursor(text); err != nil {
			return 0, after, invalidQuery("cursor", "is not one that a list answered")
		}
	}
	return limit, after, nil
}

// limit reads the size of a page.
func (c *call) limit() (int, error) {
	text := c.r.URL.Query().Get("limit")
	if text == "" {
		return defaultLimit, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maxLimit {
		return 0, invalidQuery("limit", "must be a number from 1 to %d", maxLimit)
	}
	return limit, nil
}

// cursors are opaque to callers: the time and id of the last row seen.
func formatCursor(c store.Cursor) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(c.At.UnixMicro(), 36) + "." + c.ID))
}

func parseCursor(text string) (store.Cursor, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return store.Cursor{}, err
	}
	at, id, ok := strings.Cut(string(raw), ".")
	if !ok || id == "" {
		return store.Cursor{}, errors.New("not a cursor")
	}
	micros, err := strconv.ParseInt(at, 36, 64)
	if err != nil {
		return store.Cursor{}, err
	}
	return store.Cursor{At: time.UnixMicro(micros).UTC(), ID: id}, nil
}

// readBody reads a request's body within a limit.
func readBody(r *http.Request, most int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "invalid_body", "the body could not be read: %v", err)
	}
	if int64(len(body)) > most {
		// Who still sends when the connection is closed may never see the answer.
		_, _ = io.CopyN(io.Discard, r.Body, drainedBody)
		return nil, refuse(http.StatusRequestEntityTooLarge, "payload_too_large", "the body is longer than %d bytes", most)
	}
	return body, nil
}

// decodeBody reads a JSON body strictly: valid UTF-8, no duplicate or unknown
// names, the fields tagged `required:"true"` present. The error names the field.
func decodeBody(body []byte, into any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return invalidBody("", "is empty; a JSON object is required")
	}
	if err := jsonx.Unmarshal(body, into, jsonx.RejectUnknownMembers(true)); err != nil {
		var semantic *jsonx.SemanticError
		var syntactic *jsontext.SyntacticError
		switch {
		case errors.As(err, &syntactic):
			return invalidBody(string(syntactic.JSONPointer), "is not valid JSON at byte %d: %v", syntactic.ByteOffset, syntactic.Err)
		case errors.As(err, &semantic):
			if errors.Is(semantic.Err, jsonx.ErrUnknownName) {
				return invalidBody(string(semantic.JSONPointer), "is not a field of this call")
			}
			if semantic.GoType != nil {
				reason := "must be " + jsonName(semantic.GoType)
				if kind := semantic.JSONKind; kind != 0 {
					reason += ", not " + kindName(kind)
				}
				return invalidBody(string(semantic.JSONPointer), "%s", reason)
			}
			return invalidBody(string(semantic.JSONPointer), "is wrong: %v", semantic.Err)
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
			return invalidBody("", "ends too early")
		}
		return invalidBody("", "is wrong: %v", err)
	}
	return checkRequired("", body, reflect.TypeOf(into).Elem())
}

// checkRequired looks for the required fields of a value that was decoded as t,
// and of what is in it.
func checkRequired(pointer string, value json.RawMessage, t reflect.Type) error {
	switch {
	case t.Kind() == reflect.Pointer:
		if string(value) == "null" {
			return nil
		}
		return checkRequired(pointer, value, t.Elem())
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		var items []json.RawMessage
		if err := json.Unmarshal(value, &items); err != nil {
			return invalidBody(pointer, "must be an array")
		}
		for i, item := range items {
			if err := checkRequired(pointer+"/"+strconv.Itoa(i), item, t.Elem()); err != nil {
				return err
			}
		}
		return nil
	case t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]():
		return nil
	}
	var present map[string]json.RawMessage
	if err := json.Unmarshal(value, &present); err != nil || present == nil {
		return invalidBody(pointer, "must be an object")
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		below, required := pointer+"/"+name, f.Tag.Get("required") == "true"
		item, ok := present[name]
		switch {
		case !ok && required:
			return invalidBody(below, "is required")
		case !ok:
			continue
		case string(item) == "null" && required:
			return invalidBody(below, "must be %s, not null", jsonName(f.Type))
		}
		if err := checkRequired(below, item, f.Type); err != nil {
			return err
		}
	}
	return nil
}

// jsonName says in JSON's words what a Go type wants.
func jsonName(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[time.Time]() {
		return "an RFC 3339 time"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint64:
		return "an integer"
	case reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	}
	return "an object"
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "this number"
	case '[':
		return "an array"
	}
	return "an object"
}

// requestID takes the caller's X-Request-Id where it is sound, and makes one otherwise.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); bundle.ValidID(id) {
		return id
	}
	return newID()
}

// newID makes a UUIDv7.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

// encode gives the JSON of an answer.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
