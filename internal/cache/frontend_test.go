package cache

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// page is a frontend of one version: its page names a file with a fingerprint
// and maps a module without.
func (f *fake) deploy(version string) {
	f.put("/", `<head><link href="materialdesignicons.min.css"><script type="importmap">{"imports":{"vue": "./assets/lib/vue.js"}}</script><script type="module" src="./assets/index-`+version+`.js"></script></head>`)
	f.put("/assets/index-"+version+".js", `import {a} from "vue";import"./chunk.js";// `+version)
	f.put("/assets/lib/vue.js", "vue of "+version)
	f.put("/assets/chunk.js", "chunk of "+version)
	f.put("/materialdesignicons.min.css", "icons of "+version)
}

func TestNobodySeesAMixtureOfTwoBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := newCache(f)
		f.deploy("v1")
		build := func() string {
			if _, err := c.Page(t.Context()); err != nil {
				t.Fatal(err)
			}
			return c.front.build
		}
		file := func(build, name string) string {
			e, err := c.File(t.Context(), build, name)
			if err != nil {
				return err.Error()
			}
			b, _ := e.Body()
			return string(b)
		}
		one := build()
		if got := file(one, "assets/lib/vue.js"); got != "vue of v1" {
			t.Fatalf("got %q", got)
		}
		f.deploy("v2")
		time.Sleep(time.Second)
		// A page of the old build asks for a file that it has not loaded yet.
		if got := file(one, "assets/chunk.js"); got != ErrNotKept.Error() {
			t.Errorf("the old build got %q", got)
		}
		if got := file(one, "assets/lib/vue.js"); got != "vue of v1" {
			t.Errorf("the old build's kept file is %q", got)
		}
		time.Sleep(checkAfter)
		two := build()
		if two == one {
			t.Fatal("the build is still the old one")
		}
		for name, want := range map[string]string{"assets/lib/vue.js": "vue of v2", "assets/chunk.js": "chunk of v2", "materialdesignicons.min.css": "icons of v2"} {
			if got := file(two, name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if got := file("000000000000", "assets/chunk.js"); got != ErrNotKept.Error() {
			t.Errorf("an unknown build got %q", got)
		}
		for _, bad := range []string{"../main.py", "queue", "assets/../queue", "user.css"} {
			if got := file(two, bad); got != ErrNotKept.Error() {
				t.Errorf("%s got %q", bad, got)
			}
		}
	})
}

func TestWhatAPageLoadNeedsIsFetchedAhead(t *testing.T) {
	f := newFake()
	c := newCache(f)
	f.deploy("v1")
	if did, err := c.Warm(t.Context()); err != nil || !did {
		t.Fatal(did, err)
	}
	all := strings.Join(c.Ahead(), " ")
	for _, want := range []string{"assets/index-v1.js", "assets/lib/vue.js", "assets/chunk.js", "materialdesignicons.min.css"} {
		if !strings.Contains(all, want) {
			t.Errorf("%s is not fetched ahead: %s", want, all)
		}
	}
	asked := f.asked.Load()
	c.Warm(t.Context())
	if f.asked.Load() != asked {
		t.Error("it was fetched ahead twice")
	}
}

func TestThePageNamesWhatEarlierLoadsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := newCache(f)
		c.opts.Early = []byte("early()")
		f.deploy("v1")
		page := func() string {
			e, err := c.Page(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			b, err := e.Body()
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		first := page()
		if !strings.HasPrefix(first, "<head><script>early()</script><link") || strings.Contains(first, "modulepreload") {
			t.Errorf("the first page: %s", first)
		}
		build := c.front.build
		for _, file := range []string{"assets/chunk.js", "assets/lib/vue.js", "assets/index-v1.js", "assets/style.css", `assets/"quote.js`} {
			c.Loaded(build, file)
		}
		c.Loaded("000000000000", "assets/other.js")
		time.Sleep(loadTime)
		c.Loaded(build, "assets/dialog.js")
		want := ""
		for _, file := range []string{"chunk.js", "lib/vue.js"} { // not what the page names itself
			want += `<link rel="modulepreload" crossorigin href="./_latch/fe/` + build + `/assets/` + file + `">`
		}
		if got := page(); got != strings.Replace(first, "</head>", want+"</head>", 1) {
			t.Errorf("the next page: %s", got)
		}
		f.deploy("v2")
		time.Sleep(checkAfter)
		if got := page(); strings.Contains(got, "modulepreload") {
			t.Errorf("the page of another build: %s", got)
		}
	})
}
