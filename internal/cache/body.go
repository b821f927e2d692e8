package cache

import (
	"bytes"
	"compress/gzip"
	"io"
	"strconv"
	"strings"

	kgzip "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// bodies are one body in the encodings that it is kept in. What compresses
// well is kept only so, and made plain again for the few who want it plain.
type bodies struct {
	identity, gzip, zstd []byte
	plain                int  // bytes of the identity body
	tight                bool // compressed as well as can be
}

const (
	smallest = 512     // bytes: below, compressing costs more than it saves
	window   = 4 << 20 // bytes that zstd looks back; browsers take up to 8 MB (RFC 9659)
)

// encoders are safe for concurrent use and cost nothing while idle.
var (
	encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window))
	decoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
)

func (b *bodies) compress(worthwhile bool) {
	b.plain = len(b.identity)
	if !worthwhile || b.plain < smallest {
		return
	}
	var z bytes.Buffer
	w, _ := kgzip.NewWriterLevel(&z, 7) // 7 is a valid level
	w.Write(b.identity)
	w.Close()
	packed := encoder.EncodeAll(b.identity, nil)
	if len(packed) > b.plain*9/10 {
		return
	}
	b.gzip, b.zstd, b.identity = bytes.Clone(z.Bytes()), bytes.Clone(packed), nil
}

func (b *bodies) size() int64 { return int64(len(b.identity)+len(b.gzip)+len(b.zstd)) + 512 }

// choose gives the smallest body that the visitor takes, and its encoding.
func (b *bodies) choose(accept string) (body []byte, encoding string, err error) {
	switch {
	case b.identity != nil || b.plain == 0:
		return b.identity, "", nil
	case accepts(accept, "zstd"):
		return b.zstd, "zstd", nil
	case accepts(accept, "gzip"):
		return b.gzip, "gzip", nil
	}
	body, err = b.decoded()
	return body, "", err
}

func (b *bodies) decoded() ([]byte, error) {
	if b.identity != nil || b.plain == 0 {
		return b.identity, nil
	}
	return decoder.DecodeAll(b.zstd, make([]byte, 0, b.plain))
}

// accepts reads an Accept-Encoding header (RFC 9110 section 12.5.3).
func accepts(header, encoding string) bool {
	any := false
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(part, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		if name != encoding && name != "*" {
			continue
		}
		ok := true
		if q, found := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q="); found {
			v, err := strconv.ParseFloat(q, 64)
			ok = err == nil && v > 0
		}
		if name == encoding {
			return ok
		}
		any = ok
	}
	return any
}

// compressible tells the types that are text in truth.
func compressible(contentType string) bool {
	kind, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	kind = strings.TrimSpace(kind)
	switch {
	case strings.HasPrefix(kind, "text/"), strings.HasSuffix(kind, "+json"), strings.HasSuffix(kind, "+xml"):
		return true
	}
	switch kind {
	case "application/javascript", "application/x-javascript", "application/json", "application/xml", "application/wasm", "image/svg+xml", "application/manifest+json", "font/ttf":
		return true
	}
	return false
}

// gunzip is for tests and for reading what only gzip was kept of.
func gunzip(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
