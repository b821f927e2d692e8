package standin

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func (l live) upload(t *testing.T, path, name string, content []byte, fields ...string) (int, string) {
	t.Helper()
	body, kind := form("image", name, content, fields...)
	r, err := http.Post(l.URL+path, kind, body)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestUploadStaysInItsFolder(t *testing.T) {
	dir := t.TempDir()
	l := start(t, Config{Dir: filepath.Join(dir, "comfy")})
	for _, c := range []struct {
		name, sub string
		status    int
	}{
		{"a.png", "x/y", 200}, {"a.png", "x/../y", 200}, {"a.png", "..", 400}, {"a.png", "/tmp", 400}, {"../a.png", "", 400},
		{"../../a.png", "x", 400}, {"/nosuch/a.png", "", 500}, {"nosuch/a.png", "", 500}, {"a.png", "\x00", 500}, {"", "", 500},
	} {
		if status, body := l.upload(t, "/upload/image", c.name, []byte("x"), "subfolder", c.sub); status != c.status {
			t.Errorf("%q in %q: %d %s, want %d", c.name, c.sub, status, body, c.status)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("something was written beside the folder: %v", entries)
	}
	if entries, _ := os.ReadDir(filepath.Join(l.Dir(), "temp")); len(entries) != 0 {
		t.Errorf("uploads are left in temp: %v", entries)
	}
}

func TestBodyOverTheLimitIs413(t *testing.T) {
	l := start(t, Config{MaxUpload: 1000})
	if status, _ := l.upload(t, "/upload/image", "a.png", make([]byte, 2000)); status != 413 {
		t.Errorf("upload: %d", status)
	}
	for _, path := range []string{"/prompt", "/userdata/a.json", "/settings"} {
		if status, _ := l.call(t, "POST", path, strings.Repeat("x", 2000)); status != 413 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestNothingOutsideTheFolderIsRead(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret.png")
	b, err := encodePNG(filled(1, 1, 1, 2, 3), "secret", "geheim")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, b, 0o600); err != nil {
		t.Fatal(err)
	}
	l := start(t, Config{Dir: filepath.Join(dir, "comfy")})
	if err := os.Symlink(secret, filepath.Join(l.Dir(), "output", "link.png")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/view?filename=../../secret.png", "/view?filename=secret.png&subfolder=../..", "/view?filename=" + secret,
		"/view?filename=link.png", "/userdata/..%2F..%2F..%2Fsecret.png", "/userdata/%2F" + strings.ReplaceAll(secret, "/", "%2F"),
		"/userdata?dir=..%2F..%2F..", "/v2/userdata?path=..%2F..", "/..%2Fsecret.png", "/extensions/..%2F..%2Fsecret.png"} {
		if status, body := l.call(t, "GET", path, ""); status < 400 || strings.Contains(body, "geheim") {
			t.Errorf("GET %s: %d %.60q", path, status, body)
		}
	}
	for _, name := range []string{"../../secret.png", secret, "link.png [output]", "../../../secret.png [output]"} {
		status, body := l.call(t, "POST", "/prompt", `{"prompt":{"1":{"class_type":"LoadImage","inputs":{"image":"`+name+`"}},
			"2":{"class_type":"PreviewImage","inputs":{"images":["1",0]}}}}`)
		if status != 400 || !strings.Contains(body, "Invalid image file") {
			t.Errorf("LoadImage %s: %d %s", name, status, body)
		}
	}
}

func TestMaskKeepsThePictureAndItsTexts(t *testing.T) {
	l := start(t, Config{})
	b, err := encodePNG(filled(2, 2, 9, 8, 7), "prompt", "{}")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.root.WriteFile("output/o.png", b, 0o644); err != nil {
		t.Fatal(err)
	}
	transparent, _ := encodePNG(toNRGBA(newPicture(2, 2)))
	status, body := l.upload(t, "/upload/mask", "m.png", transparent, "original_ref", `{"filename":"o.png","subfolder":"","type":"output"}`)
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	f, err := l.root.Open("input/m.png")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, alpha, err := decode(f)
	if err != nil {
		t.Fatal(err)
	}
	if c := alpha.NRGBAAt(0, 0); c.R != 9 || c.A != 0 {
		t.Errorf("the pixel is %v, want the colour of the original, transparent", c)
	}
	saved, _ := l.root.ReadFile("input/m.png")
	if got := keywords(saved); len(got) != 1 || got[0] != "prompt" {
		t.Errorf("texts %q", got)
	}
}

func TestViewAnswersRangesAndConditions(t *testing.T) {
	l := start(t, Config{})
	url := l.URL + "/view?filename=example.png&type=input"
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	for header, want := range map[[2]string]int{{"If-None-Match", r.Header.Get("Etag")}: 304, {"Range", "bytes=0-7"}: 206, {"Range", "bytes=9999999-"}: 416} {
		req, _ := http.NewRequest("GET", url, nil)
		req.Header.Set(header[0], header[1])
		got, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		if got.StatusCode != want {
			t.Errorf("%v: %d, want %d", header, got.StatusCode, want)
		}
	}
}

func TestPagesAreNotServedFromTheOutputFolder(t *testing.T) {
	l := start(t, Config{})
	for _, name := range []string{"x.html", "x.js", "x.css"} {
		if err := l.root.WriteFile("output/"+name, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := http.Get(l.URL + "/view?filename=" + name)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if got := r.Header.Get("Content-Type"); got != "application/octet-stream" {
			t.Errorf("%s is %s", name, got)
		}
	}
}
