package web

import (
	"net/url"
	"strings"
	"testing"
)

func TestNextKeepsPlacesOnThisSite(t *testing.T) {
	for _, next := range []string{
		"/", "/?a=b", "/view?filename=a.png&subfolder=a%2Fb&type=output", "/#workflow", "/history/abc",
		"/_latch/account", "/userdata/", "/a.b/c-d_e~f",
	} {
		if got := SafeNext(next); got != next {
			t.Errorf("SafeNext(%q) = %q, want it kept", next, got)
		}
	}
}

func TestNextDoesNotLeadBackToTheLogin(t *testing.T) {
	for _, next := range []string{"/login", "/login/", "/login?next=/login", "/logout", "/logout/", "/auth_login.html?logout=true", "/api/login"} {
		if got := SafeNext(next); got != "/" {
			t.Errorf("SafeNext(%q) = %q, want /", next, got)
		}
	}
}

// TestOpenRedirects builds the ways in which browsers have been led from a
// path to another host: what may stand between the slashes, how a slash may be
// written, and what the host looks like.
func TestOpenRedirects(t *testing.T) {
	corpus := redirectCorpus()
	if len(corpus) < 500 {
		t.Fatalf("only %d variants", len(corpus))
	}
	t.Run("C5 open redirect corpus", func(t *testing.T) {
		for _, next := range corpus {
			if got := SafeNext(next); got != "/" {
				t.Errorf("SafeNext(%q) = %q, want /", next, got)
			}
		}
	})
	t.Run("C5 every accepted place resolves to this site", func(t *testing.T) {
		base := mustURL(t, "https://gate.example/login")
		for _, next := range append(corpus, "/", "/a?b#c") {
			if got := base.ResolveReference(mustURL(t, SafeNext(next))); got.Host != "gate.example" || got.Scheme != "https" {
				t.Errorf("%q leads to %s", next, got)
			}
		}
	})
}

func redirectCorpus() []string {
	hosts := []string{"evil.example", "evil.example/a", "evil%E3%80%82example", "2130706433", "[::1]", "gate.example@evil.example", "evil.example:80"}
	between := []string{"", "\t", "\n", "\r", "\v", "\f", " ", "\x00", "\x1f", "\x7f", "\u00a0", "\u2028", "\u3000", "\ufeff",
		".", "..", "./", "../", "./.", "%2e", "%2E%2e/", "%09", "%0d%0a", "%20", "%00", ";", "\t\t\\\t"}
	slashes := []string{"/", `\`, "%2f", "%2F", "%5c", "%255c", "／", "⁄", "∕", "＼", "/%2f", `\/`, `/\`, "//"}
	corpus := []string{
		"", " ", "evil.example", "//", "///", `/\`, `\\`, `\/`, "//evil.example", "https:evil.example", "https:/evil.example",
		"https://evil.example", "HTTPS://evil.example", "javascript:alert(1)", "java\tscript:alert(1)", "data:text/html,x", "//evil.example/%2f..",
		"/%0d%0aLocation:%20https://evil.example", "/a\r\nSet-Cookie: x=y", "/a/../..//evil.example", "/?url=//evil.example&next=//evil.example", "/go?to=Https://evil.example", "/a/%2e%2e//evil.example", "/a//evil.example",
		"/%", "/%zz", "/a%", "?next=//evil.example", "#//evil.example", ".//evil.example", "../evil.example", "@evil.example", "/@evil.example",
		"/" + strings.Repeat("a", maxNext),
	}
	for _, host := range hosts {
		for _, b := range between {
			for _, s := range slashes {
				next := "/" + b + s + host
				// "/x/evil" with a plain slash and nothing odd before it is our own path.
				if s == "/" && (b == "") {
					next = "/" + s + host
				}
				corpus = append(corpus, next)
			}
		}
		for _, scheme := range []string{"http:", "https:", "ftp:", "ws:", "blob:https:", "//x@", "x:"} {
			corpus = append(corpus, scheme+"//"+host, scheme+host, " "+scheme+"//"+host, "/"+scheme+"//"+host)
		}
	}
	return corpus
}

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func FuzzSafeNext(f *testing.F) {
	for _, next := range redirectCorpus()[:60] {
		f.Add(next)
	}
	f.Add("/view?filename=a.png")
	f.Fuzz(func(t *testing.T, next string) {
		got := SafeNext(next)
		if got != "/" && got != next {
			t.Fatalf("SafeNext(%q) = %q: it must not repair", next, got)
		}
		if !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || strings.ContainsAny(got, "\\ \t\r\n\x00") {
			t.Fatalf("SafeNext(%q) = %q", next, got)
		}
		u := mustURL(t, "https://gate.example/x/y").ResolveReference(mustURL(t, got))
		if u.Host != "gate.example" || u.Scheme != "https" || u.User != nil {
			t.Fatalf("SafeNext(%q) leads to %s", next, u)
		}
	})
}
