package bundle_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/caracalai/caracald/bundle"
)

// entry is one header of a tar with its data.
type entry struct {
	header tar.Header
	data   string
}

func regular(name, data string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: time.Unix(0, 0)}, data}
}

func writeTar(tb testing.TB, entries ...entry) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := e.header
		h.Size = int64(len(e.data))
		if err := w.WriteHeader(&h); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write([]byte(e.data)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func frame(tb rapid.TB, data []byte, options ...zstd.EOption) []byte {
	tb.Helper()
	enc, err := zstd.NewWriter(nil, options...)
	if err != nil {
		tb.Fatal(err)
	}
	out := enc.EncodeAll(data, nil)
	if err := enc.Close(); err != nil {
		tb.Fatal(err)
	}
	return out
}

func unframe(tb testing.TB, data []byte) []byte {
	tb.Helper()
	dec, err := zstd.NewReader(nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer dec.Close()
	out, err := dec.DecodeAll(data, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// describing is the statement of somebody who signs whatever data is, so that
// what refuses it is not a hash of the whole.
func describing(data []byte, manifest string, uncompressed int) bundle.Statement {
	return bundle.Statement{ManifestSHA256: bundle.SHA256Hex([]byte(manifest)), BundleSHA256: bundle.SHA256Hex(data), BundleSize: int64(len(data)), UncompressedSize: int64(uncompressed)}
}

func TestUnpackComparesBeforeItOpens(t *testing.T) {
	p := pack(t, "a", "b")
	tests := []struct {
		name     string
		data     []byte
		change   func(*bundle.Statement, *bundle.Limits)
		sentinel error
		says     string
	}{
		{"a byte more", append(slices.Clone(p.Data), 0), nil, bundle.ErrHash, "bytes"},
		{"a byte less", p.Data[:len(p.Data)-1], nil, bundle.ErrHash, "bytes"},
		{"no bytes", nil, nil, bundle.ErrHash, "0 bytes"},
		{"not zstd, of the right size", make([]byte, len(p.Data)), nil, bundle.ErrHash, "bundle's SHA-256"},
		{"another bundle hash", p.Data, func(s *bundle.Statement, _ *bundle.Limits) { s.BundleSHA256 = p.ManifestSHA256 }, bundle.ErrHash, "bundle's SHA-256"},
		{"another manifest hash", p.Data, func(s *bundle.Statement, _ *bundle.Limits) { s.ManifestSHA256 = p.BundleSHA256 }, bundle.ErrHash, "manifest's SHA-256"},
		{"another archive size", p.Data, func(s *bundle.Statement, _ *bundle.Limits) { s.UncompressedSize++ }, bundle.ErrHash, "the archive has"},
		{"compressed limit", p.Data, func(_ *bundle.Statement, l *bundle.Limits) { l.MaxCompressed = int64(len(p.Data)) - 1 }, bundle.ErrLimit, "the bundle has"},
		{"archive limit", p.Data, func(s *bundle.Statement, l *bundle.Limits) { l.MaxUncompressed = s.UncompressedSize - 1 }, bundle.ErrLimit, "the archive has"},
		{"file limit", p.Data, func(_ *bundle.Statement, l *bundle.Limits) { l.MaxFile = 16 }, bundle.ErrLimit, "manifest.json"},
		{"files limit", p.Data, func(_ *bundle.Statement, l *bundle.Limits) { l.MaxFiles = 2 }, bundle.ErrLimit, "more than 2 files"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want, lim := p.Statement, bundle.DefaultLimits()
			if tt.change != nil {
				tt.change(&want, &lim)
			}
			c, err := bundle.Unpack(tt.data, want, lim)
			refused(t, err, tt.sentinel, tt.says)
			if c != nil {
				t.Error("contents were given with an error")
			}
		})
	}
}

func TestUnpackRefusesFrames(t *testing.T) {
	p := pack(t, "a", "b")
	archive := unframe(t, p.Data)
	skippable := binary.LittleEndian.AppendUint32([]byte{0x50, 0x2a, 0x4d, 0x18}, 3)
	skippable = append(skippable, "any"...)
	var streamed bytes.Buffer
	enc, err := zstd.NewWriter(&streamed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := enc.Write(archive[:10]); err != nil {
		t.Fatal(err)
	}
	if err := enc.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := enc.Write(archive[10:]); err != nil {
		t.Fatal(err)
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	broken := slices.Clone(p.Data)
	broken[len(broken)-1] ^= 1
	tests := []struct {
		name     string
		data     []byte
		sentinel error
		says     string
	}{
		{"gzip", append([]byte{0x1f, 0x8b}, p.Data...), bundle.ErrFormat, "not zstd"},
		{"an archive that is not compressed", archive, bundle.ErrFormat, "not zstd"},
		{"two frames", slices.Concat(frame(t, archive[:512]), frame(t, archive[512:])), bundle.ErrFormat, "goes on"},
		{"an empty frame after it", append(slices.Clone(p.Data), frame(t, nil, zstd.WithZeroFrames(true))...), bundle.ErrFormat, "goes on"},
		{"a byte after it", append(slices.Clone(p.Data), 0), bundle.ErrFormat, "goes on"},
		{"a skippable frame after it", append(slices.Clone(p.Data), skippable...), bundle.ErrFormat, "goes on"},
		{"a skippable frame before it", append(slices.Clone(skippable), p.Data...), bundle.ErrFormat, "skippable"},
		{"no checksum", frame(t, archive, zstd.WithEncoderCRC(false)), bundle.ErrFormat, "checksum"},
		{"a wrong checksum", broken, bundle.ErrFormat, "decompressing"},
		{"no content size", streamed.Bytes(), bundle.ErrFormat, "size"},
		{"a dictionary", frame(t, archive, zstd.WithEncoderDictRaw(77, bytes.Repeat([]byte("package caracal.authz "), 50))), bundle.ErrFormat, "dictionary"},
		{"cut in its header", p.Data[:5], bundle.ErrFormat, "bundle"},
		{"cut in a block", p.Data[:len(p.Data)/2], bundle.ErrFormat, "ends inside"},
		{"cut in its checksum", p.Data[:len(p.Data)-2], bundle.ErrFormat, "ends inside"},
		{"a bomb by ratio", frame(t, make([]byte, 9<<20)), bundle.ErrLimit, "at most 8388608"},
		{"a bomb by size", frame(t, make([]byte, 73<<20)), bundle.ErrLimit, "at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := bundle.Unpack(tt.data, describing(tt.data, string(p.Manifest), len(archive)), bundle.DefaultLimits())
			refused(t, err, tt.sentinel, tt.says)
			_, _, err = bundle.Inspect(tt.data, bundle.DefaultLimits())
			refused(t, err, tt.sentinel, tt.says)
		})
	}
}

// TestUnpackLyingFrame claims a content size that the blocks do not have: more
// must not be written than claimed, and less must not be taken for the claim.
func TestUnpackLyingFrame(t *testing.T) {
	archive := unframe(t, pack(t, "a").Data)
	data := frame(t, archive)
	size := make([]byte, 2)
	binary.LittleEndian.PutUint16(size, uint16(len(archive)-256)) // how two bytes say it
	at := bytes.Index(data[:12], size)
	if at < 0 {
		t.Fatalf("no content size of two bytes in % x", data[:12])
	}
	for _, claimed := range []int{len(archive) - 1, len(archive) + 1, 256, 65791} {
		lying := slices.Clone(data)
		binary.LittleEndian.PutUint16(lying[at:], uint16(claimed-256))
		_, err := bundle.Unpack(lying, describing(lying, "", claimed), bundle.DefaultLimits())
		refused(t, err, bundle.ErrFormat, "decompressing")
	}
}

func TestUnpackRefusesArchives(t *testing.T) {
	m, modules := manifestOf("first", "second")
	p, err := bundle.Pack(m, modules)
	if err != nil {
		t.Fatal(err)
	}
	name := func(i int) string { return "policies/" + m.Policies[i].PolicyVersionID + ".rego" }
	manifest, one, two := regular("manifest.json", string(p.Manifest)), regular(name(0), "first"), regular(name(1), "second")
	with := func(e entry, change func(*tar.Header)) entry {
		change(&e.header)
		return e
	}
	good := writeTar(t, manifest, one, two)
	if !bytes.Equal(good, unframe(t, p.Data)) {
		t.Fatal("the archive that the cases change is not the one that Pack writes")
	}
	patched := func(at int, b byte) []byte {
		out := slices.Clone(good)
		out[at] ^= b
		return out
	}
	sparse := with(one, func(h *tar.Header) { h.PAXRecords = map[string]string{"CARACAL.note": "x"}; h.Format = tar.FormatPAX })
	link := func(kind byte) entry {
		return entry{header: tar.Header{Typeflag: kind, Name: name(0), Linkname: "manifest.json", ModTime: time.Unix(0, 0)}}
	}
	bent := strings.Replace(string(p.Manifest), `"version":7`, `"version": 7`, 1)
	tests := []struct {
		name     string
		archive  []byte
		sentinel error
		says     string
	}{
		{"empty", make([]byte, 1024), bundle.ErrFormat, "has no manifest.json"},
		{"not a tar", bytes.Repeat([]byte("x"), 1024), bundle.ErrFormat, "reading the archive"},
		{"no manifest", writeTar(t, one, two), bundle.ErrFormat, "has no manifest.json"},
		{"a manifest that is not canonical", writeTar(t, regular("manifest.json", bent), one, two), bundle.ErrFormat, "canonical"},
		{"a policy is missing", writeTar(t, manifest, one), bundle.ErrFormat, "1 policies, the manifest 2"},
		{"a policy is another", writeTar(t, manifest, one, regular("policies/other.rego", "second")), bundle.ErrFormat, "lacks the policy version " + m.Policies[1].PolicyVersionID},
		{"a policy too many", writeTar(t, manifest, one, two, regular("policies/z.rego", "")), bundle.ErrFormat, "3 policies"},
		{"a policy is altered", writeTar(t, manifest, one, regular(name(1), "secone")), bundle.ErrHash, m.Policies[1].PolicyVersionID},
		{"policies in each other's place", writeTar(t, manifest, regular(name(0), "second"), regular(name(1), "first")), bundle.ErrHash, m.Policies[0].PolicyVersionID},
		{"not in order", writeTar(t, manifest, two, one), bundle.ErrFormat, "order"},
		{"a name twice", writeTar(t, manifest, one, one, two), bundle.ErrFormat, "twice"},
		{"another name", writeTar(t, regular("README", ""), manifest, one, two), bundle.ErrFormat, "README"},
		{"an absolute name", writeTar(t, regular("/etc/passwd", "")), bundle.ErrFormat, "/etc/passwd"},
		{"a name that goes up", writeTar(t, manifest, regular("policies/../x.rego", "")), bundle.ErrFormat, "policies/../x.rego"},
		{"a directory", writeTar(t, manifest, entry{header: tar.Header{Typeflag: tar.TypeDir, Name: "policies/", ModTime: time.Unix(0, 0)}}, one, two), bundle.ErrFormat, "not a regular file"},
		{"a symbolic link", writeTar(t, manifest, link(tar.TypeSymlink), two), bundle.ErrFormat, "not a regular file"},
		{"a hard link", writeTar(t, manifest, link(tar.TypeLink), two), bundle.ErrFormat, "not a regular file"},
		{"a PAX header for all files", writeTar(t, entry{header: tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "x"}}}, manifest, one, two), bundle.ErrFormat, "not a regular file"},
		{"a PAX header for a file", writeTar(t, manifest, sparse, two), bundle.ErrFormat, "plain ustar"},
		{"GNU's format", writeTar(t, manifest, with(one, func(h *tar.Header) { h.Format = tar.FormatGNU }), two), bundle.ErrFormat, "plain ustar"},
		{"another mode", writeTar(t, manifest, with(one, func(h *tar.Header) { h.Mode = 0o755 }), two), bundle.ErrFormat, "headers"},
		{"an owner", writeTar(t, manifest, with(one, func(h *tar.Header) { h.Uid = 1000 }), two), bundle.ErrFormat, "headers"},
		{"a user", writeTar(t, manifest, with(one, func(h *tar.Header) { h.Uname = "root" }), two), bundle.ErrFormat, "headers"},
		{"a time", writeTar(t, manifest, with(one, func(h *tar.Header) { h.ModTime = time.Unix(1, 0) }), two), bundle.ErrFormat, "headers"},
		{"a checksum of a header", patched(148, 1), bundle.ErrFormat, "reading the archive"},
		{"padding of the manifest", patched(512+len(p.Manifest), 'x'), bundle.ErrFormat, "headers or padding"},
		{"data after the end", append(slices.Clone(good), bytes.Repeat([]byte("x"), 512)...), bundle.ErrFormat, "headers or padding"},
		{"zeros after the end", append(slices.Clone(good), make([]byte, 512)...), bundle.ErrFormat, "headers or padding"},
		{"no end", good[:len(good)-1024], bundle.ErrFormat, "headers or padding"},
		{"half an end", good[:len(good)-512], bundle.ErrFormat, "headers or padding"},
		{"cut in a file", good[:600], bundle.ErrFormat, "reading manifest.json"},
		{"a sparse file larger than the archive", sparseArchive(1 << 40), bundle.ErrFormat, "plain ustar"},
		{"a large file", writeTar(t, regular("manifest.json", strings.Repeat(" ", 2<<20+1))), bundle.ErrLimit, "manifest.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := frame(t, tt.archive)
			_, err := bundle.Unpack(data, describing(data, string(p.Manifest), len(tt.archive)), bundle.DefaultLimits())
			refused(t, err, tt.sentinel, tt.says)
		})
	}
}

// sparseArchive has one file, manifest.json, in the sparse format 0.1 of GNU's
// PAX records, which a reader expands to as many zeros. The tar writer refuses
// these records, so the headers are put together here.
func sparseArchive(size int64) []byte {
	records := ""
	for _, r := range [][2]string{{"GNU.sparse.major", "0"}, {"GNU.sparse.minor", "1"}, {"GNU.sparse.name", "manifest.json"}, {"GNU.sparse.numblocks", "1"}, {"GNU.sparse.map", decimal(size) + ",0"}, {"GNU.sparse.size", decimal(size)}} {
		body := " " + r[0] + "=" + r[1] + "\n"
		n := len(body) + 2
		if n > 99 {
			n++
		}
		records += decimal(int64(n)) + body
	}
	header := func(name string, kind byte, size int) []byte {
		h := make([]byte, 512)
		copy(h, name)
		copy(h[100:], "0000644\x000000000\x000000000\x00")
		copy(h[124:], octal(size)+"\x0000000000000\x00        ")
		h[156] = kind
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, b := range h {
			sum += int(b)
		}
		copy(h[148:], octal(sum)[5:]+"\x00 ")
		return h
	}
	out := header("PaxHeaders/manifest.json", tar.TypeXHeader, len(records))
	out = append(out, records...)
	out = append(out, make([]byte, 512-len(records)%512)...)
	out = append(out, header("GNUSparseFile.0/manifest.json", tar.TypeReg, 0)...)
	return append(out, make([]byte, 1024)...)
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// octal has eleven digits.
func octal(n int) string { return fmt.Sprintf("%011o", n) }
