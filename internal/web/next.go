package web

import (
	"net/url"
	"strings"
)

const maxNext = 2048 // bytes

// SafeNext gives next if it is a place on this site that a visitor may be sent
// to after logging in, and "/" otherwise. It repairs nothing: what any browser
// could take for another site's address is refused (backslashes, tabs and
// spaces that browsers drop, "//", dots and encoded slashes in the path).
func SafeNext(next string) string {
	if !isSafeNext(next) {
		return "/"
	}
	return next
}

func isSafeNext(next string) bool {
	// "//" in a query is harmless here, but not to a page that redirects by it.
	if len(next) > maxNext || !strings.HasPrefix(next, "/") || strings.Contains(next, "//") {
		return false
	}
	for i := 0; i < len(next); i++ {
		if c := next[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return false
		}
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return false
	}
	path, _, _ := strings.Cut(next, "#")
	path, _, _ = strings.Cut(path, "?")
	return isPlainPath(path) && !isLoginPath(path)
}

// isPlainPath refuses a path that some program may read as another one.
func isPlainPath(path string) bool {
	if strings.ContainsAny(path, ";@:") {
		return false
	}
	for seg := range strings.SplitSeq(path[1:], "/") {
		decoded, err := url.PathUnescape(seg)
		if err != nil || strings.ContainsAny(decoded, "/\\%") || strings.Contains(decoded, "..") || decoded == "." {
			return false
		}
		for _, c := range decoded {
			if c <= ' ' || c == 0x7f {
				return false
			}
		}
	}
	return true
}

// isLoginPath tells the pages that would only lead back to the login.
func isLoginPath(path string) bool {
	for strings.HasPrefix(path, "/api/") {
		path = path[len("/api"):]
	}
	switch strings.TrimSuffix(path, "/") {
	case "/login", "/logout", "/auth_login.html":
		return true
	}
	return false
}
