package server

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
	"comfylatch/internal/isolate"
)

// FuzzUploadForm holds that what a reader finds in the form that goes out is
// what was checked, whatever came in.
func FuzzUploadForm(f *testing.F) {
	for _, s := range []string{
		formOf(imageHead+`"a.png"`, "x", fieldHead+`"overwrite"`, "true"),
		formOf(imageHead+`"a;b\".png"; filename*=UTF-8''c.png`, "x", fieldHead+`"subfolder"`, "a/b"),
		formOf(fieldHead+`"_charset_"`, "utf-7", imageHead+`"a.png"`, "x", fieldHead+`type`, "temp"),
		formOf(imageHead+`"m.png"`, "x", fieldHead+`"original_ref"`, `{"filename":"a.png [input]","Type":"output"}`),
		"preamble\r\n--XX \r\n" + imageHead + "a.png\r\nContent-Type: text/html\r\n\r\nx\n--XX\nx\r\n--XX--", "--XX\r\n\r\n\r\n--XX--",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, guest bool) {
		who := account.Principal{Role: account.User, UserID: "u"}
		if guest {
			who = account.Principal{Role: account.Guest, Ref: "g"}
		}
		var sent bytes.Buffer
		to := multipart.NewWriter(&sent)
		err := copyForm(to, multipart.NewReader(bytes.NewReader(data), "XX"), who)
		var bad *formError
		if errors.As(err, &bad) || err != nil {
			return
		}
		to.Close()
		r := multipart.NewReader(&sent, to.Boundary())
		seen := map[string]bool{}
		for {
			p, err := r.NextRawPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("what went out cannot be read: %v", err)
			}
			name := p.FormName()
			if seen[name] {
				t.Fatalf("%q went out twice", name)
			}
			seen[name] = true
			wantChecked(t, p, name, who)
		}
		if guest && !seen["subfolder"] {
			t.Fatal("a guest's file went out without a folder")
		}
	})
}

func wantChecked(t *testing.T, p *multipart.Part, name string, who account.Principal) {
	_, file, err := partName(p)
	if err != nil {
		t.Fatalf("the part %q went out, which is refused: %v", p.Header, err)
	}
	if name == "image" {
		if err := checkFileName(file); err != nil || len(p.Header.Values("Content-Type")) != 1 {
			t.Fatalf("%q went out: %v", p.Header, err)
		}
		return
	}
	value, _ := io.ReadAll(p)
	if name == "subfolder" && who.Role == account.Guest {
		if !isolate.InFolder(who, string(value)) || climbs(string(value)) {
			t.Fatalf("a guest's file went into %q", value)
		}
		return
	}
	text, known, err := checkField(name, string(value), who)
	if err != nil || !known || text != string(value) || file != "" || p.Header.Get("Content-Type") != "" {
		t.Fatalf("the field %q went out as %q: %v", name, value, err)
	}
}

// FuzzCredential holds that one value is taken or none, and that nothing of a
// credential is left in what goes upstream.
func FuzzCredential(f *testing.F) {
	f.Add("Bearer abcdefgh", "", "token=abcdefgh", "")
	f.Add("Basic YTpiOmM=", "b:c", "api_key=b%3Ac&x=1", "/k/b:c")
	f.Add("bearer  a b", "\t", "token&%74oken=1", "/k/")
	f.Fuzz(func(t *testing.T, authorization, key, query, path string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header = http.Header{}
		if authorization != "" {
			r.Header["Authorization"] = strings.Split(authorization, "\n")
		}
		if key != "" {
			r.Header["X-Api-Key"] = []string{key}
		}
		s := &Server{}
		x := &exchange{}
		r.RequestURI = path + "/queue?" + query
		if s.parse(r, x) != nil {
			return
		}
		value, err := credential(r, x)
		if err == nil && value == "" || err != nil && value != "" {
			t.Fatalf("got %q and %v", value, err)
		}
		for _, k := range []string{"token", "api_key"} {
			if _, there := x.req.Value(k); there {
				t.Fatalf("%s is left in %q", k, x.req.Target())
			}
		}
		// Another reader must not find one in what goes out either.
		_, q, _ := strings.Cut(x.req.Target(), "?")
		for pair := range strings.SplitSeq(q, "&") {
			k, _, _ := strings.Cut(pair, "=")
			if name, err := url.QueryUnescape(k); err == nil && (name == "token" || name == "api_key") {
				t.Fatalf("%q is left in %q", pair, x.req.Target())
			}
		}
		if _, err := comfy.Parse("GET", x.req.Target()); err != nil {
			t.Fatalf("%q cannot be read again: %v", x.req.Target(), err)
		}
	})
}
