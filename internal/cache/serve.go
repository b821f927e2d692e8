package cache

import (
	"net/http"
	"strconv"
	"strings"
)

// How a browser may keep an answer.
const (
	// Immutable is for addresses that carry a fingerprint of their content.
	Immutable = "public, max-age=31536000, immutable"
	// Revalidate lets it be kept and asked for: 304 while it holds.
	Revalidate = "no-cache"
	// Private is Revalidate for what needs a credential.
	Private = "private, no-cache"
)

// Serve writes an entry as the answer to a GET or HEAD. It answers 304 where
// the visitor has it already.
func (e *Entry) Serve(w http.ResponseWriter, r *http.Request, control string) error {
	body, encoding, err := e.bodies.choose(r.Header.Get("Accept-Encoding"))
	if err != nil {
		return err
	}
	h := w.Header()
	for k, v := range e.Header {
		h[k] = v
	}
	tag := `"` + e.tag + `"`
	if encoding != "" {
		tag = `"` + e.tag + "-" + encoding + `"`
		h.Set("Content-Encoding", encoding)
	}
	h.Set("Etag", tag)
	h.Set("Cache-Control", control)
	if e.bodies.gzip != nil {
		h.Set("Vary", "Accept-Encoding")
	}
	if matches(r.Header.Values("If-None-Match"), tag) {
		h.Del("Content-Encoding")
		h.Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
	return nil
}

// Body gives the entry's body, plain.
func (e *Entry) Body() ([]byte, error) { return e.bodies.decoded() }

// Tag is a fingerprint of the body.
func (e *Entry) Tag() string { return e.tag }

// matches reads If-None-Match (RFC 9110 section 13.1.2, weak comparison).
func matches(headers []string, tag string) bool {
	for _, line := range headers {
		for one := range strings.SplitSeq(line, ",") {
			one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
			if one == tag || one == "*" {
				return true
			}
		}
	}
	return false
}

// Cacheable tells a request that may be answered from here at all.
func Cacheable(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Range") == "" &&
		r.Header.Get("If-Match") == "" && r.Header.Get("If-Unmodified-Since") == "" && r.ContentLength == 0
}
