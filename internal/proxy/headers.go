package proxy

import (
	"errors"
	"net/http"
	"strings"
)

// how says what becomes of a request header that comes more than once.
type how uint8

const (
	once how = iota // refused: two programs could take different ones
	many            // joined with commas, as RFC 9110 section 5.3 allows for lists
)

// requestHeaders are the headers that go to ComfyUI. All others stay here, and
// among them are, on purpose:
//
//   - Origin, Referer, Sec-Fetch-Site, -Mode, -User: ComfyUI compares them with
//     its own address, which is not the one that the visitor sees, and would
//     answer 403 (server.py, origin_only_middleware);
//   - Comfy-User: whoever sends it would be that user (ComfyUI #15822);
//   - Authorization, X-API-Key: the gate's own credentials;
//   - Forwarded, X-Forwarded-*, X-Real-IP and whatever else a client could
//     claim about itself;
//   - Connection and what belongs to one connection only: Upgrade, TE, Trailer,
//     Expect, Keep-Alive, Transfer-Encoding;
//   - names with "_" or ".", which some servers read as "-".
//
// Host, Content-Length and Cookie are written by us.
var requestHeaders = map[string]how{
	"Accept":              many, // /view and the API give JSON or pictures by it
	"Accept-Encoding":     many, // ComfyUI may compress (--enable-compress-response-body)
	"Accept-Language":     many, // custom nodes' pages
	"Cache-Control":       many, // "reload" in the browser
	"Comfy-Usage-Source":  once, // ComfyUI's own count of where prompts come from
	"Content-Encoding":    once, // a compressed request body
	"Content-Type":        once, // above all the boundary of a multipart form
	"If-Match":            many, // the conditional requests of RFC 9110 section 13
	"If-Modified-Since":   once,
	"If-None-Match":       many,
	"If-Range":            once, // videos are fetched in parts
	"If-Unmodified-Since": once,
	"Pragma":              many, // the old Cache-Control
	"Range":               once,
	"Sec-Fetch-Dest":      once, // newer ComfyUIs serve SVG by it (/view)
	"User-Agent":          once, // for ComfyUI's log
}

// connectionOnly are headers that belong to one connection (RFC 9110 section
// 7.6.1): they are never passed on, in either direction.
var connectionOnly = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authorization": true,
	"Proxy-Authentication-Info": true, "Proxy-Connection": true, "Te": true, "Trailer": true,
	"Transfer-Encoding": true, "Upgrade": true,
}

// gateOnly are headers of an answer by which ComfyUI, or a custom node, would
// speak for the gate: they log the visitor out, send them to another server,
// or are orders to a proxy in front of us (X-Accel-* and X-Sendfile make nginx
// or Apache serve a file of its own machine).
var gateOnly = map[string]bool{"Clear-Site-Data": true, "Alt-Svc": true, "Strict-Transport-Security": true, "X-Sendfile": true}

var (
	errTwice = errors.New("a header that may come only once came twice")
	// A request is decided on with this header and would go upstream without.
	errHopByHop = errors.New("a header that ComfyUI needs is named in Connection")
)

// outHeader picks from a client's headers what goes upstream.
func outHeader(in http.Header, ourCookie func(string) bool) (http.Header, error) {
	out := make(http.Header, 8)
	for name, v := range in {
		how, passes := requestHeaders[name]
		switch {
		case !passes, len(v) == 0:
		case len(v) == 1:
			out[name] = v
		case how == once:
			return nil, errTwice
		default:
			out[name] = []string{strings.Join(v, ", ")}
		}
	}
	if c := otherCookies(in["Cookie"], ourCookie); c != "" {
		out["Cookie"] = []string{c}
	}
	if connection := in["Connection"]; len(connection) > 0 {
		for name := range out {
			if namedIn(connection, name) {
				return nil, errHopByHop
			}
		}
	}
	return out, nil
}

// otherCookies gives the Cookie header without the gate's cookies. What is
// left is left as it was, byte for byte. HTTP/2 may send it in several lines.
func otherCookies(lines []string, ours func(string) bool) string {
	if len(lines) == 1 {
		return withoutOurs(lines[0], ours)
	}
	var kept []string
	for _, line := range lines {
		if line = withoutOurs(line, ours); line != "" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "; ")
}

func withoutOurs(line string, ours func(string) bool) string {
	kept, all := make([]string, 0, 8), true // not on the heap, mostly
	for part := range strings.SplitSeq(line, ";") {
		name, _, _ := strings.Cut(part, "=")
		if ours(strings.TrimSpace(name)) {
			all = false
		} else {
			kept = append(kept, part)
		}
	}
	if all {
		return line
	}
	return strings.TrimLeft(strings.Join(kept, ";"), " ")
}

// inHeader copies the headers of ComfyUI's answer to ours. What the gate has
// set already stays.
func inHeader(dst, src http.Header, ourCookie func(string) bool) {
	named := src["Connection"]
	for name, values := range src {
		switch {
		case connectionOnly[name], namedIn(named, name), gateOnly[name], strings.HasPrefix(name, "X-Accel-"):
		case strings.HasPrefix(name, "Access-Control-"):
			// Who may read across origins is the gate's to say: ComfyUI's
			// --enable-cors-header would allow everybody, with credentials.
		case name == "Set-Cookie":
			for _, v := range values {
				if cookieIsFree(v, ourCookie) {
					dst.Add(name, v)
				}
			}
		case len(dst[name]) == 0:
			dst[name] = values
		}
	}
}

// namedIn tells whether a Connection header names another header.
func namedIn(connection []string, header string) bool {
	for _, v := range connection {
		for name := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(name), header) {
				return true
			}
		}
	}
	return false
}

// cookieIsFree tells whether ComfyUI may set this cookie. One without a name
// is sent back by browsers as if its value were "name=value" (RFC 6265bis),
// so it could stand for any name.
func cookieIsFree(line string, ours func(string) bool) bool {
	pair, _, _ := strings.Cut(line, ";")
	name, _, ok := strings.Cut(pair, "=")
	name = strings.TrimSpace(name)
	return ok && name != "" && !ours(name)
}
