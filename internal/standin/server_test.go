package standin

import (
	"compress/gzip"
	"context"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestUnknownVersionIsRefused(t *testing.T) {
	if _, err := New(Config{Version: "0.1.0"}); err == nil || !strings.Contains(err.Error(), "0.24.0") {
		t.Errorf("error %v, want one that names the known versions", err)
	}
}

func TestTemporaryFolderGoesWithTheServer(t *testing.T) {
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.Dir(), "input", "example.png")); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.Dir()); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestExistingFolderIsKeptAsItIs(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "input"), 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "input")); err != nil || len(entries) != 0 {
		t.Errorf("input holds %v (%v)", entries, err)
	}
}

func TestRunTwiceAtATimeIsAnError(t *testing.T) {
	l := start(t, Config{})
	id := l.prompt(t, slow(1, 60000))
	l.waitRunning(t, id)
	if err := l.Run(context.Background()); err == nil {
		t.Error("no error")
	}
}

func TestRequestsShowWhatArrived(t *testing.T) {
	l := start(t, Config{Record: true})
	l.call(t, "GET", "/userdata/a%2Fb?x=1;2", "")
	all := l.Requests()
	if len(all) != 1 || all[0].URI != "/userdata/a%2Fb?x=1;2" || all[0].Method != "GET" || all[0].Host == "" || all[0].Header.Get("User-Agent") == "" {
		t.Errorf("recorded %+v", all)
	}
	l.ForgetRequests()
	if all := l.Requests(); len(all) != 0 {
		t.Errorf("still recorded: %+v", all)
	}
}

func TestExtraNodeDefinitionsAreAnnouncedButDoNotRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "info.json.gz")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	_, _ = z.Write([]byte(`{"KSampler":{"name":"KSampler"},"EmptyImage":{"name":"not ours"}}`))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	l := start(t, Config{ObjectInfoFile: file})
	_, body := l.call(t, "GET", "/object_info", "")
	if !strings.Contains(body, `"name": "KSampler"`) || strings.Contains(body, "not ours") {
		t.Errorf("/object_info is %.300s", body)
	}
	if status, body := l.call(t, "POST", "/prompt", `{"prompt":{"1":{"class_type":"KSampler","inputs":{}}}}`); status != 400 || !strings.Contains(body, "missing_node_type") {
		t.Errorf("KSampler: %d %s", status, body)
	}
}

func TestFrontEndIsServedFromItsFolder(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"index.html": "<p>theirs</p>", "assets/a.js": "1", "extensions/core/x.js": "2"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l := start(t, Config{FrontEndRoot: dir})
	for path, want := range map[string]string{"/": "<p>theirs</p>", "/assets/a.js": "1", "/extensions": `["/extensions/core/x.js"]`, "/extensions/core/x.js": "2"} {
		if _, body := l.call(t, "GET", path, ""); body != want {
			t.Errorf("%s is %q, want %q", path, body, want)
		}
	}
	if status, _ := l.call(t, "GET", "/assets", ""); status != 403 {
		t.Errorf("a folder: %d, want 403", status)
	}
	if _, err := New(Config{FrontEndRoot: t.TempDir()}); err == nil {
		t.Error("a folder without index.html is taken for a front end")
	}
}

func TestFindFrontEndAsksPython(t *testing.T) {
	bin, static := t.TempDir(), t.TempDir()
	t.Setenv("PATH", bin)
	if got := FindFrontEnd(); got != "" {
		t.Errorf("without python3: %q", got)
	}
	script := "#!/bin/sh\necho " + static + "\n"
	if err := os.WriteFile(filepath.Join(bin, "python3"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := FindFrontEnd(); got != "" {
		t.Errorf("without index.html: %q", got)
	}
	if err := os.WriteFile(filepath.Join(static, "index.html"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := FindFrontEnd(); got != static {
		t.Errorf("%q, want %q", got, static)
	}
}

// The page must work behind the gate's strictest policy: script-src 'self'.
func TestOwnPageNeedsNothingFromElsewhere(t *testing.T) {
	for name, bad := range map[string]string{
		"index.html":  `https?://|<script>|<style|\son[a-z]+=|style=`,
		"standin.css": `https?://|url\(|@import`,
		"standin.js":  `https?://|\beval\(|new Function|innerHTML`,
	} {
		b, err := fs.ReadFile(page, "page/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if hit := regexp.MustCompile(bad).Find(b); hit != nil {
			t.Errorf("%s contains %s", name, hit)
		}
	}
}

func TestBothNamesOfARouteAnswer(t *testing.T) {
	l := start(t, Config{})
	for _, path := range []string{"/queue", "/object_info/EmptyImage", "/system_stats", "/userdata?dir=nosuch", "/features", "/users", "/models"} {
		a, bodyA := l.call(t, "GET", path, "")
		b, bodyB := l.call(t, "GET", "/api"+path, "")
		if a != b || bodyA != bodyB {
			t.Errorf("%s: %d and %d, %s and %s", path, a, b, bodyA, bodyB)
		}
	}
	for _, path := range []string{"/api/internal/logs", "/api/api/queue"} {
		if status, _ := l.call(t, "GET", path, ""); status != 404 {
			t.Errorf("%s: %d, want 404", path, status)
		}
	}
}

func FuzzNoRequestBreaksTheServer(f *testing.F) {
	s, err := New(Config{Dir: f.TempDir(), MaxUpload: 1 << 20})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	for _, seed := range [][3]string{
		{"POST", "/prompt", `{"prompt":` + paint(1) + `,"number":1e999,"extra_data":{}}`},
		{"POST", "/prompt", `{"prompt":{"1":{"class_type":"ImageInvert","inputs":{"image":["1",0]}},"2":{"class_type":"PreviewImage","inputs":{"images":["1",-1]}}}}`},
		{"POST", "/prompt", `{"prompt":{"1":{"class_type":"EmptyImage","inputs":{"width":1e400,"height":"9999999999999999999","batch_size":[],"color":{}}},"2":{"class_type":"PreviewImage","inputs":{"images":["1",true]}}}}`},
		{"GET", "/view?filename=a%00b&subfolder=%2e%2e&preview=;&channel=", ""},
		{"POST", "/userdata/%2e%2e%2f%00/move/%2F", "x"}, {"GET", "//x", ""}, {"PATCH", "/internal/logs/subscribe", `{"clientId":[],"enabled":{}}`},
		{"POST", "/queue", `{"delete":[1,null,{}]}`}, {"GET", "/history?max_items=-9223372036854775808&offset=9", ""}, {"GET", "/api/jobs?limit=9&offset=9223372036854775807", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, method, target, body string) {
		if !regexp.MustCompile(`^[A-Z]+$`).MatchString(method) || !strings.HasPrefix(target, "/") || strings.ContainsAny(target, " \r\n") {
			return
		}
		r, err := newRequest(method, target, body)
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code < 200 || w.Code > 503 {
			t.Errorf("%s %s: %d", method, target, w.Code)
		}
		s.queue.clear()
	})
}
