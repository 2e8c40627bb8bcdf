package eventloop

import "bytes"

// Request is a POST that is whole. Its bytes are the loop's.
type Request struct {
	// Body is the body, and the others the values of headers, nil where a
	// request does not have one.
	Body, ID, Traceparent, Tracestate, Authorization []byte

	// Answer is where the handler appends the response, head and body. It is
	// empty when the handler gets it.
	Answer []byte
	// Close ends the connection after the answer.
	Close bool
	// Elsewhere leaves the request, and its connection, to the server behind.
	Elsewhere bool

	whole []byte // all of the request, as it came
}

// Verdict is what Parse makes of the bytes at the beginning of a request.
type Verdict int

const (
	// Whole: a request that the loops serve.
	Whole Verdict = iota
	// More: the beginning of one.
	More
	// Other: anything else.
	Other
)

// maxHead bounds a request's line and headers, in bytes.
const maxHead = 16 << 10

var (
	headEnd  = []byte("\r\n\r\n")
	method   = []byte("POST ")
	protocol = []byte(" HTTP/1.1\r\n")
	loopback = []byte("[::1]")
)

// Parse reads one request for path with a body of at most maxBody bytes, and
// tells its length, with More as far as that is known, or 0.
//
// A request is Whole where it is a POST to exactly this path, of HTTP/1.1, with
// one plain Host and one Content-Length; every line ends with CR LF, names are tokens
// (RFC 9110, section 5.6.2), values have no control characters but tabs; there is
// no Transfer-Encoding, Expect, Upgrade or Trailer, and no Connection but
// keep-alive; and no header that it reads comes twice.
func Parse(b []byte, path string, maxBody int, r *Request) (length int, v Verdict) {
	if !begins(b, path) {
		return 0, Other
	}
	head := bytes.Index(b[:min(len(b), maxHead)], headEnd)
	if head < 0 {
		if len(b) >= maxHead {
			return 0, Other
		}
		return 0, More
	}
	r.Body, r.ID, r.Traceparent, r.Tracestate, r.Authorization = nil, nil, nil, nil, nil
	size, host := -1, false
	for lines := b[len(method)+len(path)+len(protocol) : head+2]; len(lines) > 0; {
		name, value, rest, ok := header(lines)
		if !ok {
			return 0, Other
		}
		lines = rest
		var into *[]byte
		switch len(name) {
		case len("Host"):
			if is(name, "host") {
				if host || !plainHost(value) {
					return 0, Other
				}
				host = true
			}
		case len("Expect"):
			if is(name, "expect") {
				return 0, Other
			}
		case len("Upgrade"): // and Trailer
			if is(name, "upgrade") || is(name, "trailer") {
				return 0, Other
			}
		case len("Connection"): // and Tracestate
			if is(name, "connection") && !is(value, "keep-alive") {
				return 0, Other
			}
			if is(name, "tracestate") {
				into = &r.Tracestate
			}
		case len("Traceparent"):
			if is(name, "traceparent") {
				into = &r.Traceparent
			}
		case len("X-Request-Id"):
			if is(name, "x-request-id") {
				into = &r.ID
			}
		case len("Authorization"):
			if is(name, "authorization") {
				into = &r.Authorization
			}
		case len("Content-Length"):
			if is(name, "content-length") {
				if size >= 0 {
					return 0, Other
				}
				if size, ok = decimal(value); !ok || size > maxBody {
					return 0, Other
				}
			}
		case len("Transfer-Encoding"):
			if is(name, "transfer-encoding") {
				return 0, Other
			}
		}
		if into != nil {
			if *into != nil {
				return 0, Other
			}
			*into = value
		}
	}
	if !host || size < 0 {
		return 0, Other
	}
	length = head + len(headEnd) + size
	if len(b) < length {
		return length, More
	}
	r.Body, r.whole = b[head+len(headEnd):length], b[:length]
	return length, Whole
}

// begins tells whether b is the request's line, or the beginning of it.
func begins(b []byte, path string) bool {
	n := min(len(b), len(method))
	if !bytes.Equal(b[:n], method[:n]) {
		return false
	}
	b = b[n:]
	n = min(len(b), len(path))
	if string(b[:n]) != path[:n] {
		return false
	}
	b = b[n:]
	n = min(len(b), len(protocol))
	return bytes.Equal(b[:n], protocol[:n])
}

// header takes the first line of some, each of which ends with CR LF.
func header(b []byte) (name, value, rest []byte, ok bool) {
	colon := 0
	for colon < len(b) && token[b[colon]] {
		colon++
	}
	if colon == 0 || colon == len(b) || b[colon] != ':' {
		return nil, nil, nil, false
	}
	end := colon + 1
	for end < len(b) && (b[end] >= ' ' && b[end] != 0x7f || b[end] == '\t') {
		end++
	}
	if end+1 >= len(b) || b[end] != '\r' || b[end+1] != '\n' {
		return nil, nil, nil, false
	}
	value = b[colon+1 : end]
	for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	for n := len(value); n > 0 && (value[n-1] == ' ' || value[n-1] == '\t'); n-- {
		value = value[:n-1]
	}
	return b[:colon], value, b[end+2:], true
}

// token has the characters of a header's name.
var token = func() (t [256]bool) {
	for c := range 256 {
		t[c] = c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' && c < 0x80
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// plainHost tells whether a Host is a name, an address of IPv4 or the loopback's of
// IPv6, with a port or without. It is narrow because servers differ in what else
// they take, and a Host can say what the path is to some.
func plainHost(b []byte) bool {
	name, port, found := bytes.Cut(bytes.TrimPrefix(b, loopback), []byte{':'})
	if found {
		if len(port) > len("65535") {
			return false
		}
		for _, c := range port {
			if c < '0' || c > '9' {
				return false
			}
		}
	}
	for _, c := range name {
		if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' && c < 0x80 || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	if bytes.HasPrefix(b, loopback) {
		return len(name) == 0
	}
	return len(name) > 0
}

// is compares with lower-case text, whatever the case of b.
func is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// decimal reads a number of at most nine digits.
func decimal(b []byte) (int, bool) {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, len(b) > 0 && len(b) <= 9
}
