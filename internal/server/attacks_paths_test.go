package server

import (
	"strings"
	"testing"
)

// The cases are named after the rows of the list of attacks that the design
// refers to. Each table has positive controls: the same thing done properly.

func TestPathsThatLeadElsewhere(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	guest := h.guest()
	for _, c := range []struct {
		name, method, target string
		want                 int
		headers              []string
	}{
		{"A1 dot-dot", "GET", "/login/../queue", 400, nil},
		{"A1 dot-dot, known", "GET", "/public/../queue", 400, []string{bearer}},
		{"A2 encoded dots", "GET", "/login/%2e%2e/queue", 400, nil},
		{"A2 upper case", "GET", "/login/%2E./queue", 400, nil},
		{"A4 glued prefix", "GET", "/api../queue", 400, nil},
		{"A4 glued prefix, encoded", "GET", "/api%2e%2e/queue", 400, nil},
		{"A7 double slash", "GET", "//queue", 400, []string{bearer}},
		{"A7 double slash behind api", "GET", "/api//queue", 400, []string{bearer}},
		{"A9 NUL", "GET", "/queue%00", 400, []string{bearer}},
		{"A9 encoded backslash", "GET", "/login%5c..%5cqueue", 400, nil},
		{"A9 backslash", "GET", `/login\..\queue`, 400, nil},
		{"A9 encoded question mark", "GET", "/login%3f/../queue", 400, nil},
		{"A9 double encoding", "GET", "/%2571ueue", 400, []string{bearer}},
		{"A12 query in the match", "GET", "/queue?path=/login", 401, nil},
		{"A12 public ending in the query", "GET", "/queue?x=/assets/a.js", 401, nil},
		{"A15 legal %2F, control", "POST", "/api/userdata/workflows%2Fa.json?overwrite=true", 200, []string{bearer}},
		{"A16 traversal in a name", "GET", "/userdata/..%2f..%2fx", 400, []string{bearer}},
		{"A16 traversal as a guest", "POST", "/userdata/..%2f..%2fx", 400, []string{"guest"}},
		{"A16 Manager's config as a guest", "POST", "/userdata/ComfyUI-Manager%2Fconfig.ini", 403, []string{"guest"}},
		{"A20 own pages", "GET", "/_latch/static/../../queue", 400, nil},
		{"A20 login", "GET", "/login/../queue", 400, nil},
		{"A21 query bomb", "GET", "/queue?" + strings.Repeat("a=1&", 2000) + "hidden=y", 400, []string{bearer}},
		{"A21 endless target", "GET", "/queue?" + strings.Repeat("a", 9000), 414, []string{bearer}},
		{"T7 preview traversal", "GET", "/experiment/models/preview/checkpoints/0/..%2f..%2fx.png", 400, []string{bearer}},
		{"T16 Manager's config by the owner, control", "POST", "/userdata/ComfyUI-Manager%2Fconfig.ini", 200, []string{bearer}},
		{"T17 line break in a query", "GET", "/manager/db_mode?value=cache%0Dsecurity_level=weak", 400, []string{bearer}},
		{"control", "GET", "/api/queue", 200, []string{bearer}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *h
			h.t = t
			h.comfy.ForgetRequests()
			headers := c.headers
			if len(headers) == 1 && headers[0] == "guest" {
				headers = []string{"Cookie: " + guest, "Origin: " + h.url}
			}
			h.wantStatus(h.do(c.method, c.target, "", headers...), c.want)
			if c.want >= 400 {
				h.wantNothingSent()
			} else if all := h.sent(); len(all) != 1 || all[0].URI != c.target {
				t.Errorf("ComfyUI was asked %v, want %s", all, c.target)
			}
		})
	}
}

func TestASemicolonBelongsToTheValue(t *testing.T) {
	h := newHouse(t, nil)
	t.Run("A22 semicolon query", func(t *testing.T) {
		h.get("/view?filename=a;type=b&preview=webp;90", bearer)
		if all := h.sent(); len(all) != 1 || all[0].URI != "/view?filename=a;type=b&preview=webp;90" {
			t.Errorf("ComfyUI was asked %v", all)
		}
	})
}

// TestNobodyUsesAGuestsDeniedRoutes takes every route that guests may not use,
// in each form that ComfyUI answers.
func TestGuestsAreRefusedInEveryForm(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	cookie, origin := "Cookie: "+h.guest(), "Origin: "+h.url
	for _, c := range []struct{ name, method, path string }{
		{"A17 settings", "POST", "/settings"},
		{"A17 one setting", "POST", "/settings/Comfy.x"},
		{"A17 saving", "POST", "/userdata/a.json"},
		{"A17 reading", "GET", "/userdata/comfy.settings.json"},
		{"A17 deleting", "DELETE", "/userdata/a.json"},
		{"A17 moving", "POST", "/userdata/comfy.settings.json/move/leak.js"},
		{"suffix .js", "POST", "/userdata/x.js"},
		{"T18 Manager", "POST", "/customnode/install/git_url"},
		{"T18 Manager by GET", "GET", "/manager/reboot"},
		{"T20 custom node", "GET", "/video_ui_custom_view"},
		{"T23 free", "POST", "/free"},
		{"T26 logs", "GET", "/internal/logs/raw"},
		{"T26 folders", "GET", "/internal/folder_paths"},
		{"users", "POST", "/users"},
		{"models", "GET", "/models/checkpoints"},
		{"unknown method", "DELETE", "/prompt"},
		{"trailing slash", "POST", "/prompt/"},
		{"unknown path", "GET", "/metrics"},
		{"G10 debug endpoints", "GET", "/debug/pprof/"},
	} {
		for _, prefix := range []string{"", "/api", "/api/api"} {
			t.Run("T1 "+c.name+" "+prefix+c.path, func(t *testing.T) {
				h := *h
				h.t = t
				h.comfy.ForgetRequests()
				h.wantStatus(h.do(c.method, prefix+c.path, "", cookie, origin), 403)
				h.wantStatus(h.do(c.method, prefix+c.path, ""), 401)
				h.wantNothingSent()
			})
		}
	}
	t.Run("control", func(t *testing.T) {
		h := *h
		h.t = t
		h.wantStatus(h.get("/api/object_info/EmptyImage", cookie), 200)
	})
}
