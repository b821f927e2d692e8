package web

import (
	"net/http"
	"strings"
	"testing"
)

func TestSessionFrom(t *testing.T) {
	for name, tc := range map[string]struct {
		cookies []string
		secure  bool
		value   string
		state   CookieState
	}{
		"none":                               {nil, true, "", CookieNone},
		"one":                                {[]string{"a=b; __Host-comfylatch=A; c=d"}, true, "A", CookieOne},
		"plain HTTP":                         {[]string{"comfylatch=A"}, false, "A", CookieOne},
		"empty":                              {[]string{"comfylatch="}, false, "", CookieNone},
		"C11 two in one header":              {[]string{"__Host-comfylatch=A; __Host-comfylatch=B"}, true, "", CookieTwice},
		"C11 two headers":                    {[]string{"__Host-comfylatch=A", "__Host-comfylatch=B"}, true, "", CookieTwice},
		"C11 the same twice":                 {[]string{"__Host-comfylatch=A; __Host-comfylatch=A"}, true, "", CookieTwice},
		"C11 second one malformed":           {[]string{"__Host-comfylatch=A; __Host-comfylatch=\x01\""}, true, "", CookieTwice},
		"C11 second one empty":               {[]string{"__Host-comfylatch=A; __Host-comfylatch="}, true, "", CookieTwice},
		"C11 from a sibling domain":          {[]string{"comfylatch=B"}, true, "", CookieNone},
		"C11 sibling's beside ours":          {[]string{"comfylatch=B; __Host-comfylatch=A"}, true, "A", CookieOne},
		"HTTPS cookie on plain HTTP":         {[]string{"__Host-comfylatch=A"}, false, "", CookieNone},
		"another case is another cookie":     {[]string{"__HOST-comfylatch=A"}, true, "", CookieNone},
		"a prefix is another cookie":         {[]string{"comfylatch2=A; xcomfylatch=B"}, false, "", CookieNone},
		"spaces and quotes around the value": {[]string{` comfylatch = "A" `}, false, "A", CookieOne},
	} {
		t.Run(name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{"Cookie": tc.cookies}}
			if value, state := SessionFrom(r, tc.secure); value != tc.value || state != tc.state {
				t.Errorf("got %q, %v; want %q, %v", value, state, tc.value, tc.state)
			}
		})
	}
}

func FuzzSessionFrom(f *testing.F) {
	f.Add("__Host-comfylatch=A", "a=b")
	f.Add("comfylatch=A; comfylatch=B", ";;=;")
	f.Fuzz(func(t *testing.T, first, second string) {
		r := &http.Request{Header: http.Header{"Cookie": {first, second}}}
		for _, secure := range []bool{true, false} {
			value, state := SessionFrom(r, secure)
			if (value != "") != (state == CookieOne) {
				t.Fatalf("%q, %v", value, state)
			}
			if value != "" && strings.ContainsAny(value, ";") {
				t.Fatalf("value %q", value)
			}
			// What net/http sees twice must be two for us as well.
			if n := len(r.CookiesNamed(CookieName(secure))); n > 1 && state != CookieTwice {
				t.Fatalf("net/http sees %d, we say %v", n, state)
			}
		}
	})
}
