package eventloop_test

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/caracalai/caracald/daemon/eventloop"
)

func TestParse(t *testing.T) {
	const line = "POST /echo HTTP/1.1\r\n"
	for name, tc := range map[string]struct {
		text    string
		length  int
		verdict eventloop.Verdict
	}{
		"whole":                  {line + "Host: x\r\nContent-Length: 2\r\n\r\nab", 53, eventloop.Whole},
		"any case":               {line + "hOST: x\r\ncontent-LENGTH:2\r\n\r\nab", 52, eventloop.Whole},
		"kept alive":             {line + "Host: x\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", 75, eventloop.Whole},
		"more behind it":         {line + "Host: x\r\nContent-Length: 2\r\n\r\nabc", 53, eventloop.Whole},
		"nothing":                {"", 0, eventloop.More},
		"a part of the line":     {line[:7], 0, eventloop.More},
		"a part of the head":     {line + "Host: x\r\nContent-Le", 0, eventloop.More},
		"a part of the body":     {line + "Host: x\r\nContent-Length: 2\r\n\r\na", 53, eventloop.More},
		"another path":           {"POST /ech", 0, eventloop.More},
		"a longer path":          {"POST /echo2", 0, eventloop.Other},
		"a lone line feed":       {line + "Host: x\nContent-Length: 2\r\n\r\nab", 0, eventloop.Other},
		"a lone return":          {line + "Host: x\ry\r\nContent-Length: 2\r\n\r\nab", 0, eventloop.Other},
		"a folded line":          {line + "Host: x\r\n y\r\nContent-Length: 2\r\n\r\nab", 0, eventloop.Other},
		"a null byte":            {line + "Host: \x00\r\nContent-Length: 2\r\n\r\nab", 0, eventloop.Other},
		"no host":                {line + "Content-Length: 2\r\n\r\nab", 0, eventloop.Other},
		"an empty host":          {line + "Host: \r\nContent-Length: 2\r\n\r\nab", 0, eventloop.Other},
		"an address":             {line + "Host: [::1]:8080\r\nContent-Length: 0\r\n\r\n", 60, eventloop.Whole},
		"a name and a port":      {line + "Host: a-b.c:80\r\nContent-Length: 0\r\n\r\n", 58, eventloop.Whole},
		"a wrong port":           {line + "Host: a:b\r\nContent-Length: 0\r\n\r\n", 0, eventloop.Other},
		"a part of a URL":        {line + "Host: a/b\r\nContent-Length: 0\r\n\r\n", 0, eventloop.Other},
		"two hosts":              {line + "Host: x\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", 0, eventloop.Other},
		"two lengths":            {line + "Host: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", 0, eventloop.Other},
		"a sign":                 {line + "Host: x\r\nContent-Length: +2\r\n\r\nab", 0, eventloop.Other},
		"a list of lengths":      {line + "Host: x\r\nContent-Length: 2, 2\r\n\r\nab", 0, eventloop.Other},
		"an empty length":        {line + "Host: x\r\nContent-Length:\r\n\r\nab", 0, eventloop.Other},
		"a length without end":   {line + "Host: x\r\nContent-Length: 99999999999999999999\r\n\r\nab", 0, eventloop.Other},
		"too long":               {line + "Host: x\r\nContent-Length: 101\r\n\r\n", 0, eventloop.Other},
		"chunked":                {line + "Host: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nab", 0, eventloop.Other},
		"two ids":                {line + "Host: x\r\nX-Request-Id: a\r\nX-Request-Id: b\r\nContent-Length: 2\r\n\r\nab", 0, eventloop.Other},
		"an upgrade":             {line + "Host: x\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nab", 0, eventloop.Other},
		"a head without end":     {line + strings.Repeat("A: b\r\n", 4000), 0, eventloop.Other},
		"no name":                {line + ": b\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", 0, eventloop.Other},
		"no colon":               {line + "Host\r\nContent-Length: 2\r\n\r\nab", 0, eventloop.Other},
		"a space after the name": {line + "Host: x\r\nContent-Length : 2\r\n\r\nab", 0, eventloop.Other},
	} {
		var r eventloop.Request
		if length, v := eventloop.Parse([]byte(tc.text), "/echo", 100, &r); length != tc.length || v != tc.verdict {
			t.Errorf("%s: length %d, verdict %d; want %d, %d", name, length, v, tc.length, tc.verdict)
		}
	}
}

// FuzzParse holds what the loops read to what the server behind them makes of the
// same bytes, and what is read of a part to what is read of the whole.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab",
		"POST /v HTTP/1.1\r\nHost: x\r\nX-Request-Id: \t a b \t\r\nAuthorization:\r\nTraceparent: 00-1\r\nTracestate: a=b\r\nContent-Length: 02\r\nConnection: KEEP-ALIVE\r\n\r\nabrest",
		"POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nab",
		"POST /v HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n a: b\r\n\r\nab",
		"GET /v HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 0\r\n\r\n",
		"POST /v HTTP/1.1\r\nHost: a#b\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(text), uint(20))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint) {
		const path, most = "/v", 64
		var r eventloop.Request
		length, v := eventloop.Parse(data, path, most, &r)
		part := data[:min(uint(len(data)), at)]
		var p eventloop.Request
		if _, pv := eventloop.Parse(part, path, most, &p); pv == eventloop.Other && v != eventloop.Other ||
			pv == eventloop.Whole && (v != eventloop.Whole || !bytes.Equal(p.Body, r.Body)) {
			t.Fatalf("of a part, %q, the verdict is %d, of the whole %d", part, pv, v)
		}
		if v != eventloop.Whole {
			return
		}
		in := bufio.NewReader(bytes.NewReader(data))
		var want fasthttp.Request
		if err := want.ReadLimitBody(in, most); err != nil {
			t.Fatalf("%q is refused by the server behind: %v", data, err)
		}
		rest, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		h := &want.Header
		if !h.IsPost() || string(want.URI().Path()) != path || !h.IsHTTP11() || h.ConnectionClose() || want.MayContinue() {
			t.Errorf("%q is %s", data, h)
		}
		if !bytes.Equal(rest, data[length:]) || !bytes.Equal(want.Body(), r.Body) {
			t.Errorf("%q: the body is %q, then %q; want %q, %q", data, r.Body, data[length:], want.Body(), rest)
		}
		for name, got := range map[string][]byte{"X-Request-Id": r.ID, "Traceparent": r.Traceparent, "Tracestate": r.Tracestate, "Authorization": r.Authorization} {
			if !bytes.Equal(got, h.Peek(name)) {
				t.Errorf("%q: %s is %q, want %q", data, name, got, h.Peek(name))
			}
		}
	})
}
