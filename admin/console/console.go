// Package console serves the web console: the built pages are in the binary, so
// that it needs neither Node nor any other host to run.
package console

import (
	"bytes"
	"crypto/rand"
	"embed"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// Base is the path that the console is served below, with a slash at its end.
const Base = "/console/"

// noncePlace is where index.html takes the nonce of each answer: the editor adds
// its styles while it runs, and they carry it.
const noncePlace = "__CSP_NONCE__"

//go:embed all:dist
var dist embed.FS

// page is one built file, and what it is compressed to.
type page struct {
	contentType   string
	plain, packed []byte
}

// Handler answers GET and HEAD below Base: the built files, and index.html for
// every address of a page, which the script in it shows.
func Handler() (http.Handler, error) {
	pages, err := built()
	if err != nil {
		return nil, fmt.Errorf("reading the console's files: %w", err)
	}
	index, ok := pages["index.html"]
	if !ok {
		return nil, fmt.Errorf("reading the console's files: index.html is missing")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, Base)
		if p, ok := pages[name]; ok && name != "index.html" {
			serveFile(w, r, p)
			return
		}
		if path.Ext(name) != "" && strings.HasPrefix(name, "assets/") {
			http.NotFound(w, r)
			return
		}
		serveIndex(w, index.plain)
	}), nil
}

// built reads and compresses the built files, once: they are part of the binary.
var built = sync.OnceValues(func() (map[string]page, error) {
	pages := map[string]page{}
	err := fs.WalkDir(dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := dist.ReadFile(name)
		if err != nil {
			return err
		}
		packed, err := compress(data)
		if err != nil {
			return err
		}
		pages[strings.TrimPrefix(name, "dist/")] = page{contentType: mime.TypeByExtension(path.Ext(name)), plain: data, packed: packed}
		return nil
	})
	return pages, err
})

func compress(data []byte) ([]byte, error) {
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err = z.Write(data); err != nil {
		return nil, err
	}
	if err = z.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// serveFile answers a file whose name has the hash of its content.
func serveFile(w http.ResponseWriter, r *http.Request, p page) {
	h := w.Header()
	h.Set("Content-Type", p.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Vary", "Accept-Encoding")
	body := p.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = p.packed
	}
	_, _ = w.Write(body) // the browser has gone; there is nobody to tell
}

func serveIndex(w http.ResponseWriter, index []byte) {
	nonce := rand.Text()
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-"+nonce+
		"'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
	h.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(bytes.ReplaceAll(index, []byte(noncePlace), []byte(nonce)))
}
