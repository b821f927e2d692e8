package comfy

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestParseKeepsWhatClientsSend(t *testing.T) {
	for _, c := range []struct{ name, method, target, pattern, path, sent string }{
		{"index", "GET", "/", "/", "/", "/"},
		{"twin of the index", "GET", "/api/", "/", "/", "/api/"},
		{"twin", "GET", "/api/queue", "/queue", "/queue", "/api/queue"},
		{"twin of a twin", "GET", "/api/api/jobs", "/jobs", "/jobs", "/api/api/jobs"},
		{"A15 legal %2F kept", "GET", "/api/userdata/workflows%2Fa%20b.json", "/userdata/{file%}", "/userdata/workflows/a b.json", "/api/userdata/workflows%2Fa%20b.json"},
		{"odd workflow name", "POST", "/api/userdata/workflows%2F50%25%20(1)%3F.json?overwrite=false", "/userdata/{file%}", "/userdata/workflows/50% (1)?.json", "/api/userdata/workflows%2F50%25%20(1)%3F.json?overwrite=false"},
		{"move", "POST", "/userdata/workflows%2Fa.json/move/workflows%2Fb.json", "/userdata/{file%}/move/{dest%}", "/userdata/workflows/a.json/move/workflows/b.json", "/userdata/workflows%2Fa.json/move/workflows%2Fb.json"},
		{"semicolon in a value", "GET", "/view?filename=a.png&preview=webp;90", "/view", "/view", "/view?filename=a.png&preview=webp;90"},
		{"empty query", "GET", "/queue?", "/queue", "/queue", "/queue"},
		{"plus and blank", "GET", "/view?filename=a+b%20c.png", "/view", "/view", "/view?filename=a+b%20c.png"},
		{"socket", "GET", "/ws?clientId=ab", "/ws", "/ws", "/ws?clientId=ab"},
		{"HEAD of a GET route", "HEAD", "/object_info", "/object_info", "/object_info", "/object_info"},
		{"frontend file", "GET", "/assets/index-D1a2.js", "/assets/{path...}", "/assets/index-D1a2.js", "/assets/index-D1a2.js"},
		{"assets API is not the assets folder", "GET", "/api/assets/x", "/api/assets/{id}", "/assets/x", "/api/assets/x"},
		{"custom node", "GET", "/video_ui_custom_view?path=/etc/passwd", "(any other)", "/video_ui_custom_view", "/video_ui_custom_view?path=/etc/passwd"},
		{"our page with a twin is not ours", "GET", "/api/login", "(any other)", "/login", "/api/login"},
		{"trailing slash", "GET", "/prompt/", "(any other)", "/prompt/", "/prompt/"},
		{"wrong method", "DELETE", "/prompt", "(any other)", "/prompt", "/prompt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Parse(c.method, c.target)
			if err != nil {
				t.Fatal(err)
			}
			if r.Route.Pattern != c.pattern || r.Path() != c.path || r.Target() != c.sent {
				t.Errorf("got route %q path %q target %q, want %q %q %q", r.Route.Pattern, r.Path(), r.Target(), c.pattern, c.path, c.sent)
			}
		})
	}
}

func TestParseRefusesWhatTwoProgramsCouldReadDifferently(t *testing.T) {
	for _, c := range []struct{ name, target string }{
		{"A1 dot-dot", "/public/../prompt"},
		{"A1 dot", "/./prompt"},
		{"A2 encoded dots", "/public/%2e%2e/prompt"},
		{"A2 half encoded dots", "/public/%2E./prompt"},
		{"A4 glued prefix", "/api../prompt"},
		{"A4 glued encoded prefix", "/api%2e%2e/prompt"},
		{"A7 double slash", "//prompt"},
		{"A7 double slash inside", "/api//prompt"},
		{"A9 NUL", "/prompt%00"},
		{"A9 encoded backslash", "/public%5c..%5cprompt"},
		{"A9 backslash", `/public\..\prompt`},
		{"A9 encoded question mark", "/public%3f/../prompt"},
		{"A9 encoded question mark alone", "/public%3fprompt"},
		{"A9 encoded hash", "/prompt%23x"},
		{"A9 double encoding", "/%2570rompt"},
		{"A9 path parameter", "/prompt;x=1"},
		{"A16 traversal in a name", "/userdata/..%2f..%2fx"},
		{"A16 traversal encoded twice", "/userdata/..%252f..%252fx"},
		{"A16 traversal encoded three times", "/userdata/..%25252f..%25252fx"},
		{"A16 absolute name", "/userdata/%2Fetc%2Fpasswd"},
		{"A16 backslash in a name", "/userdata/a%5c..%5cx"},
		{"A16 move target", "/userdata/a/move/..%2fx"},
		{"slash outside the exception", "/object_info/a%2Fb"},
		{"A20 own page", "/_latch/static/../../prompt"},
		{"A20 login", "/login/../prompt"},
		{"A21 query count bomb", "/view?" + strings.Repeat("a=1&", 10050) + "hidden=y"},
		{"A21 query count bomb, short", "/view?" + strings.Repeat("&", MaxPairs)},
		{"C2 absolute form", "http://evil/prompt"},
		{"T7 preview traversal", "/experiment/models/preview/checkpoints/0/..%2f..%2fx.png"},
		{"T7 preview traversal, plain", "/experiment/models/preview/checkpoints/0/../../x.png"},
		{"T17 line break in a query", "/manager/db_mode?value=cache%0Dsecurity_level=weak"},
		{"two values for a deciding key", "/view?filename=a.png&filename=b.png"},
		{"broken percent", "/prom%zzpt"},
		{"broken percent in the query", "/view?filename=%"},
		{"not UTF-8", "/a%ff"},
		{"not UTF-8 in the query", "/view?filename=%ff"},
		{"space", "/a b"},
		{"line break", "/a\nb"},
		{"raw umlaut", "/ä"},
		{"fragment", "/prompt#x"},
		{"asterisk form", "*"},
		{"empty", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Parse("GET", c.target)
			if err == nil {
				t.Fatalf("accepted as %q, forwarded as %q", r.Path(), r.Target())
			}
			var a *AmbiguousError
			if !errors.As(err, &a) && !errors.Is(err, ErrTooLong) {
				t.Fatalf("got error %v, want an AmbiguousError", err)
			}
		})
	}
}

func TestManagerFilesInTheUserFolderAreForAdministrators(t *testing.T) {
	for _, target := range []string{
		"/userdata/ComfyUI-Manager%2Fconfig.ini", "/api/userdata/comfyui-manager%2Fconfig.ini", "/userdata/ComfyUI-Manager%252Fconfig.ini",
		"/userdata/__manager%2Fconfig.ini", "/userdata/x/move/ComfyUI-Manager%2Fconfig.ini", "/userdata/ComfyUI-Manager",
	} {
		r, err := Parse("POST", target)
		if err != nil {
			t.Fatal(err)
		}
		if r.Least() != Admins {
			t.Errorf("T16 %s is for %v, want admins", target, r.Least())
		}
	}
	r, err := Parse("POST", "/userdata/workflows%2Fa.json")
	if err != nil || r.Least() != Users {
		t.Errorf("a workflow: %v, %v, want users", r.Least(), err)
	}
}

// FuzzParse holds the first rule of the house: a decision about what came in
// equals the decision about what a server reads from what went out.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"/", "/api/userdata/a%2Fb.json?x=1", "/api../prompt", "/view?filename=a;b&type=temp", "/k/x/prompt", "/userdata/%25.json",
		"/userdata/..%252f", "/%61pi/prompt", "/experiment/models/preview/a/0/b/c.png", "/a%3bb?%26=%3D"} {
		f.Add("GET", s)
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		in, err := Parse(method, target)
		if err != nil {
			return
		}
		sent := in.Target()
		out, err := Parse(method, sent)
		if err != nil {
			t.Fatalf("%q went out as %q, which is refused: %v", target, sent, err)
		}
		if out.Route != in.Route || out.Path() != in.Path() || out.Least() != in.Least() || out.Target() != sent {
			t.Fatalf("%q is %v %q, but %q is %v %q", target, in.Route, in.Path(), sent, out.Route, out.Path())
		}
		// An independent reader: Go's own parser of request targets.
		u, err := url.ParseRequestURI(sent)
		if err != nil {
			t.Fatalf("%q went out as %q, which net/url refuses: %v", target, sent, err)
		}
		want := strings.Repeat("/api", in.Twins) + in.Path()
		if in.Twins > 0 && len(in.Segments) == 0 && !in.Slash {
			want = strings.TrimSuffix(want, "/")
		}
		if u.Path != want {
			t.Fatalf("%q was decided as %q, but is read as %q", target, want, u.Path)
		}
		if !strings.Contains(u.RawQuery, ";") {
			for key, values := range u.Query() {
				if v, ok := in.Value(key); !ok || v != values[0] {
					t.Fatalf("%q: query key %q was read as %q, but is %q", target, key, v, values[0])
				}
			}
		}
	})
}
