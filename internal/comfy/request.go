// Package comfy is what we know of ComfyUI: its routes and who may use them,
// the one canonical form of a request, prompts and events.
//
// It touches neither network nor store and imports nothing of ours.
//
// The rule that must hold: everything decided about a request is decided on a
// Request, and what goes to ComfyUI is written from the same Request. So a
// form that two programs could read differently is refused by Parse, never
// repaired:
//
//   - a target that does not begin with one "/", is absolute, or holds bytes
//     outside visible ASCII or a "#";
//   - a path with an empty segment, a "." or "..", or ".." anywhere in a
//     segment ("/api../prompt"), a backslash or semicolon, plain or encoded;
//   - percent-encoding that is broken, double ("%25" before two hex digits),
//     hides a control character, "/", "?" or "#", or is not UTF-8;
//   - a query with broken percent-encoding, control characters, text that is
//     not UTF-8, more than MaxPairs pairs, or two different values for a key
//     that decides something.
//
// One exception stands in the table, at the routes that ask for it (Slash):
// the names of /userdata/{file} and /move/{dest} keep "%2F" and other encoded
// characters, because ComfyUI's frontend sends whole paths so (ComfyUI
// app/user_manager.py). They are decoded as often as ComfyUI decodes them and
// refused when any reading leaves the folder.
package comfy

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Limits of a request line. ComfyUI's own (aiohttp) is 8190 bytes.
const (
	MaxTarget = 8190 // bytes
	MaxPairs  = 200  // pairs in a query
	maxDepth  = 32   // segments in a path
)

// Request is one request in canonical form.
type Request struct {
	Method   string
	Route    *Route   // never nil: Unknown where the table has none
	Twins    int      // how many "/api" stood in front; ComfyUI answers most routes with and without
	Segments []string // the decoded path behind them, without slashes; empty for "/"
	Slash    bool     // the path ends in "/" (and is not "/" alone)
	Query    []Pair   // in the order they came
}

// Pair is one "key=value" of a query. ComfyUI (aiohttp) splits at "&" only, so
// a ";" belongs to the value ("preview=webp;90").
type Pair struct {
	Key, Value string // decoded, "+" read as a space
	Raw        string // as sent
}

// ErrTooLong is returned by Parse for a target longer than MaxTarget: 414.
var ErrTooLong = errors.New("request target is too long")

// AmbiguousError says why a request was refused: 400.
type AmbiguousError struct{ Reason string }

func (e *AmbiguousError) Error() string { return "ambiguous request: " + e.Reason }

func ambiguous(format string, a ...any) error {
	return &AmbiguousError{fmt.Sprintf(format, a...)}
}

// Parse reads a method and a request target in origin form, as they stood in
// the request line, and finds the route. Errors: *AmbiguousError, ErrTooLong.
func Parse(method, target string) (*Request, error) {
	if len(target) > MaxTarget {
		return nil, ErrTooLong
	}
	for i := 0; i < len(target); i++ {
		if c := target[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return nil, ambiguous("the target holds the byte %#02x", c)
		}
	}
	if !validMethod(method) {
		return nil, ambiguous("the method is not a token")
	}
	path, query, hasQuery := strings.Cut(target, "?")
	r := &Request{Method: method}
	raw, err := r.split(path)
	if err != nil {
		return nil, err
	}
	if hasQuery {
		if r.Query, err = parseQuery(query); err != nil {
			return nil, err
		}
	}
	// The route is found on the raw segments' decoded form; whether a segment
	// may hold an encoded slash is the route's to say, so it is checked after.
	r.Route = match(method, r.Twins, r.Segments, r.Slash)
	for i, seg := range r.Segments {
		if err := checkSegment(raw[i], seg, r.Route.slashAt(i)); err != nil {
			return nil, err
		}
	}
	if 3*len(target) > MaxTarget && len(r.Target()) > MaxTarget { // written anew it may be longer
		return nil, ErrTooLong
	}
	return r, r.checkKeys()
}

// split cuts the path into raw segments and decodes them into r.Segments.
func (r *Request) split(path string) (raw []string, err error) {
	if path == "" || path[0] != '/' {
		return nil, ambiguous("the target does not begin with /")
	}
	if path == "/" {
		return nil, nil
	}
	raw = strings.Split(path[1:], "/")
	if raw[len(raw)-1] == "" {
		r.Slash, raw = true, raw[:len(raw)-1]
	}
	if len(raw) > maxDepth {
		return nil, ambiguous("the path has more than %d segments", maxDepth)
	}
	r.Segments = raw // where nothing is encoded
	if strings.Contains(path, "%") {
		r.Segments = make([]string, len(raw))
	}
	for i, s := range raw {
		if s == "" {
			return nil, ambiguous("the path has an empty segment")
		}
		if r.Segments[i], err = url.PathUnescape(s); err != nil {
			return nil, ambiguous("the path has a broken percent-encoding")
		}
	}
	for r.Twins < len(raw) && r.Segments[r.Twins] == "api" {
		r.Twins++
	}
	r.Segments = r.Segments[r.Twins:]
	return raw[r.Twins:], nil
}

// checkSegment refuses a segment that two programs could read differently.
// slash says that the route takes whole paths in this segment.
func checkSegment(raw, seg string, slash bool) error {
	if strings.ContainsAny(raw, `\;`) {
		return ambiguous("the path holds a backslash or a semicolon")
	}
	if slash {
		return checkName(seg)
	}
	switch {
	case strings.Contains(seg, "%"):
		return ambiguous("the path is percent-encoded twice")
	case strings.ContainsAny(seg, "/\\;?#"):
		return ambiguous("the path holds an encoded separator")
	}
	return checkText(seg)
}

// checkName refuses a name that leaves its folder in any reading. ComfyUI
// decodes once for the route and once more where a "%" is left
// (app/user_manager.py), so it is read until it no longer changes.
func checkName(name string) error {
	for range 4 {
		if strings.Contains(name, `\`) || strings.HasPrefix(name, "/") {
			return ambiguous("the name is an absolute path or holds a backslash")
		}
		for part := range strings.SplitSeq(name, "/") {
			if part == "" || part == "." || part == ".." {
				return ambiguous("the name leaves its folder")
			}
			if !utf8.ValidString(part) || strings.ContainsFunc(part, isControl) {
				return ambiguous("the name holds a control character or is not UTF-8")
			}
		}
		next, err := url.PathUnescape(name)
		if err != nil || next == name { // a lone "%" is a character like any other
			return nil
		}
		name = next
	}
	return ambiguous("the name is percent-encoded too often")
}

func checkText(seg string) error {
	switch {
	case strings.Contains(seg, "..") || seg == ".":
		return ambiguous("the path holds dots that lead elsewhere")
	case !utf8.ValidString(seg):
		return ambiguous("the path is not UTF-8")
	case strings.ContainsFunc(seg, isControl):
		return ambiguous("the path holds a control character")
	}
	return nil
}

func isControl(r rune) bool { return r < 0x20 || (r >= 0x7f && r < 0xa0) }

// validMethod accepts a token of upper-case letters, as every method that
// ComfyUI knows is written.
func validMethod(m string) bool {
	for i := 0; i < len(m); i++ {
		if m[i] < 'A' || m[i] > 'Z' {
			return false
		}
	}
	return m != "" && len(m) <= 16
}

// parseQuery splits at "&" only, as aiohttp does.
func parseQuery(query string) ([]Pair, error) {
	if query == "" {
		return nil, nil
	}
	if strings.Count(query, "&") >= MaxPairs {
		return nil, ambiguous("the query has more than %d pairs", MaxPairs)
	}
	var pairs []Pair
	for raw := range strings.SplitSeq(query, "&") {
		if raw == "" { // some readers count it as a pair, others do not: it goes no further
			continue
		}
		k, v, _ := strings.Cut(raw, "=")
		p := Pair{Raw: raw}
		var errK, errV error
		p.Key, errK = url.QueryUnescape(k)
		p.Value, errV = url.QueryUnescape(v)
		if errK != nil || errV != nil {
			return nil, ambiguous("the query has a broken percent-encoding")
		}
		for _, s := range []string{p.Key, p.Value} {
			if !utf8.ValidString(s) || strings.ContainsFunc(s, isControl) {
				return nil, ambiguous("the query holds a control character or is not UTF-8")
			}
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// deciding are the query keys that somebody decides something by; ComfyUI
// takes the first of several, others take the last.
var deciding = map[string]bool{
	"clientId": true, "filename": true, "type": true, "subfolder": true, "token": true, "api_key": true,
}

func (r *Request) checkKeys() error {
	var seen map[string]string
	for _, p := range r.Query {
		if !deciding[p.Key] {
			continue
		}
		if first, ok := seen[p.Key]; ok && first != p.Value {
			return ambiguous("the query has %q twice, with different values", p.Key)
		}
		if seen == nil {
			seen = make(map[string]string, 4)
		}
		seen[p.Key] = p.Value
	}
	return nil
}

// Value gives the first value of a query key.
func (r *Request) Value(key string) (string, bool) {
	for _, p := range r.Query {
		if p.Key == key {
			return p.Value, true
		}
	}
	return "", false
}

// DropQuery removes all pairs with the key: credentials do not go upstream.
func (r *Request) DropQuery(key string) {
	kept := r.Query[:0]
	for _, p := range r.Query {
		if p.Key != key {
			kept = append(kept, p)
		}
	}
	r.Query = kept
}

// Path is the canonical path without "/api", decoded: for decisions and logs,
// never to be sent.
func (r *Request) Path() string {
	p := "/" + strings.Join(r.Segments, "/")
	if r.Slash && len(r.Segments) > 0 {
		p += "/"
	}
	return p
}

// Target is the request target that goes upstream: every segment encoded
// anew, every pair of the query as it was sent.
func (r *Request) Target() string {
	var b strings.Builder
	b.Grow(64)
	for range r.Twins {
		b.WriteString("/api")
	}
	for _, s := range r.Segments {
		b.WriteByte('/')
		escapeSegment(&b, s)
	}
	if r.Slash || b.Len() == 0 {
		b.WriteByte('/')
	}
	for i, p := range r.Query {
		if i == 0 {
			b.WriteByte('?')
		} else {
			b.WriteByte('&')
		}
		b.WriteString(p.Raw)
	}
	return b.String()
}

// escapeSegment encodes as JavaScript's encodeURIComponent does, which is what
// ComfyUI's frontend sends: its requests go on byte for byte.
func escapeSegment(b *strings.Builder, s string) {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.!~*'()", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
}

// Least is the least role for this very request: the route's, but
// administrators' for a file of the user folder that holds ComfyUI-Manager's
// configuration (CVE-2025-67303: it was writable through /userdata).
func (r *Request) Least() Access {
	for i, seg := range r.Segments {
		if r.Route.slashAt(i) && managerFile(seg) {
			return Admins
		}
	}
	return r.Route.Least
}

// managerFile tells whether a name leads into a folder of ComfyUI-Manager, in
// whichever case a file system may fold, however often it is encoded.
func managerFile(name string) bool {
	for range 4 {
		first, _, _ := strings.Cut(name, "/")
		first = strings.ToLower(strings.TrimRight(first, ". "))
		if first == "comfyui-manager" || first == "__manager" || first == "__comfyui-manager" {
			return true
		}
		next, err := url.PathUnescape(name)
		if err != nil || next == name {
			return false
		}
		name = next
	}
	return false
}
