package standin

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// handler answers one route. params are the unescaped parts of the path in the order of the
// pattern's {names}.
type handler func(w http.ResponseWriter, r *http.Request, params []string)

// router finds the handler of a path. It reads the escaped path, part by part, as aiohttp does:
// %2F stays inside its part, while %71ueue is queue. Nothing is cleaned and nothing redirected,
// which is why this is not http.ServeMux.
type router struct {
	exact   map[string]map[string]handler // pattern without {} → method → handler
	pattern []patternRoute
}

type patternRoute struct {
	parts   []string // "{name}" matches one part, "{name...}" the rest
	methods map[string]handler
}

// handle adds a route. GET routes answer HEAD too.
func (t *router) handle(method, pattern string, h handler) {
	methods := t.methodsOf(pattern)
	methods[method] = h
	if method == http.MethodGet {
		methods[http.MethodHead] = h
	}
}

func (t *router) methodsOf(pattern string) map[string]handler {
	if !strings.Contains(pattern, "{") {
		if t.exact == nil {
			t.exact = map[string]map[string]handler{}
		}
		if t.exact[pattern] == nil {
			t.exact[pattern] = map[string]handler{}
		}
		return t.exact[pattern]
	}
	parts := strings.Split(pattern[1:], "/")
	for _, p := range t.pattern {
		if strings.Join(p.parts, "/") == pattern[1:] {
			return p.methods
		}
	}
	p := patternRoute{parts: parts, methods: map[string]handler{}}
	t.pattern = append(t.pattern, p)
	return p.methods
}

// find returns the handler, or the methods that the path does answer.
func (t *router) find(method, escaped string) (h handler, params []string, allowed []string) {
	var parts []string
	for _, p := range strings.Split(strings.TrimPrefix(escaped, "/"), "/") {
		if u, err := url.PathUnescape(p); err == nil {
			p = u
		}
		parts = append(parts, p)
	}
	// An unescaped slash inside a part must not make it look like two.
	if !strings.Contains(strings.Join(parts, ""), "/") {
		if m := t.exact["/"+strings.Join(parts, "/")]; m != nil {
			if h := m[method]; h != nil {
				return h, nil, nil
			}
			allowed = appendKeys(allowed, m)
		}
	}
	for _, p := range t.pattern {
		params, ok := p.match(parts)
		if !ok {
			continue
		}
		if h := p.methods[method]; h != nil {
			return h, params, nil
		}
		allowed = appendKeys(allowed, p.methods)
	}
	return nil, nil, allowed
}

func (p patternRoute) match(parts []string) (params []string, ok bool) {
	for i, want := range p.parts {
		if strings.HasSuffix(want, "...}") {
			return append(params, strings.Join(parts[min(i, len(parts)):], "/")), len(parts) > i
		}
		if i >= len(parts) {
			return nil, false
		}
		switch {
		case strings.HasPrefix(want, "{"):
			if parts[i] == "" {
				return nil, false
			}
			params = append(params, parts[i])
		case want != parts[i]:
			return nil, false
		}
	}
	return params, len(parts) == len(p.parts)
}

func appendKeys(to []string, m map[string]handler) []string {
	for k := range m {
		to = append(to, k)
	}
	return to
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if strings.HasPrefix(path, "//") {
		text(w, http.StatusNotFound, "404: Not Found")
		return
	}
	h, params, allowed := s.router.find(r.Method, path)
	internal := path == "/internal" || strings.HasPrefix(path, "/internal/")
	switch {
	case h != nil:
		h(w, r, params)
	case internal && len(allowed) == 0:
		text(w, http.StatusNotFound, "404: Not Found")
	case internal:
		methodNotAllowed(w, allowed)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		s.static(w, r) // the front end's folder is mounted at /, so it sees every other path
	default:
		methodNotAllowed(w, append(allowed, http.MethodGet, http.MethodHead))
	}
}

func methodNotAllowed(w http.ResponseWriter, allowed []string) {
	sort.Strings(allowed)
	var unique []string
	for _, m := range allowed {
		if len(unique) == 0 || unique[len(unique)-1] != m {
			unique = append(unique, m)
		}
	}
	w.Header().Set("Allow", strings.Join(unique, ","))
	text(w, http.StatusMethodNotAllowed, "405: Method Not Allowed")
}

// query returns the first value of a parameter. Only & separates, as in aiohttp:
// preview=webp;90 is one pair.
func query(r *http.Request, name string) (string, bool) {
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if unescape(k) == name && pair != "" {
			return unescape(v), true
		}
	}
	return "", false
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// answer sends a JSON value in Python's spelling.
func answer(w http.ResponseWriter, status int, v any) {
	body := dumps(v)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// text sends a plain text.
func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// empty sends a status and nothing else.
func empty(w http.ResponseWriter, status int) { w.WriteHeader(status) }

// crash is what aiohttp sends when a handler raised: ComfyUI does not check most of its input,
// so bad input often ends here.
func crash(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	text(w, http.StatusInternalServerError, "500 Internal Server Error\n\nServer got itself in trouble")
}

// readBody reads a whole body; false means that the answer has been sent.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		bodyError(w, err)
		return nil, false
	}
	return b.Bytes(), true
}

// readJSON reads a JSON body, whatever its Content-Type; false means that the answer has been
// sent (500 for what is not JSON, as there).
func readJSON(w http.ResponseWriter, r *http.Request) (any, bool) {
	b, ok := readBody(w, r)
	if !ok {
		return nil, false
	}
	v, err := parse(bytes.NewReader(b))
	if err != nil {
		crash(w)
		return nil, false
	}
	return v, true
}

func bodyError(w http.ResponseWriter, err error) {
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		text(w, http.StatusRequestEntityTooLarge, "Maximum request body size "+strconv.FormatInt(big.Limit, 10)+" exceeded.")
		return
	}
	crash(w)
}
