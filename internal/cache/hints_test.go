package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheScriptGoesFirstInThePage(t *testing.T) {
	c := newCache(newFake())
	c.opts.Early = []byte("early()")
	for html, want := range map[string]string{
		"<head><link></head>":             "<head><script>early()</script><link></head>",
		`<html><HEAD lang="x">y</HEAD >z`: `<html><HEAD lang="x"><script>early()</script>y</HEAD >z`,
		"":                                "",
		"no head":                         "no head",
		"<header>x</header>":              "<header>x</header>",
		"</head><head>":                   "</head><head>",
	} {
		c.front.html = []byte(html)
		if got := string(c.hinted()); got != want {
			t.Errorf("%q became %q", html, got)
		}
	}
}

// words is text that compresses as scripts do.
func words(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "const v%x = f%d(%q);\n", r.Uint32(), r.IntN(300), strings.Repeat("ab", r.IntN(9)))
	}
	return b.String()
}

func TestLargeFilesAreHintedAmongSmallOnes(t *testing.T) {
	f := newFake()
	c := newCache(f)
	c.opts.MaxBytes = 64 << 20
	f.deploy("v1")
	for _, file := range []string{"entry", "one", "two"} {
		f.put("/assets/"+file+".js", words(500<<10))
	}
	if _, err := c.Page(t.Context()); err != nil {
		t.Fatal(err)
	}
	var small []string
	for i := range 20 {
		small = append(small, fmt.Sprintf("assets/s%02d.js", i))
		f.put("/"+small[i], "small")
	}
	all := append([]string{"assets/entry.js", "assets/one.js", "assets/two.js"}, small...)
	for _, file := range all {
		if _, err := c.File(t.Context(), c.front.build, file); err != nil {
			t.Fatal(file, err)
		}
	}
	got := c.mixed(all[:1], all[1:])
	if len(got) != len(all)-1 || !slices.Equal(slices.DeleteFunc(slices.Clone(got), func(f string) bool { return !slices.Contains(small, f) }), small) {
		t.Fatalf("files were lost, or lost their order: %s", got)
	}
	one, two := slices.Index(got, "assets/one.js"), slices.Index(got, "assets/two.js")
	size := len(c.lookup(Prefix + c.front.build + "/assets/one.js").bodies.gzip)
	if apart := (size + question - 1) / question; one != apart || two != 2*apart {
		t.Errorf("files of %d bytes come at %d and %d, want %d and %d", size, one, two, apart, 2*apart)
	}
}

func TestFilesArePackedTightlyWhenTheLoadIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		c := newCache(f)
		f.deploy("v1")
		script := words(200 << 10)
		f.put("/assets/chunk.js", script)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go c.Run(ctx)
		if _, err := c.Page(ctx); err != nil {
			t.Fatal(err)
		}
		target := Prefix + c.front.build + "/assets/chunk.js"
		c.Expect()
		synctest.Wait()
		loose := c.lookup(target)
		if loose == nil || loose.bodies.tight {
			t.Fatalf("right after the load: %+v", loose)
		}
		time.Sleep(loadTime)
		synctest.Wait()
		tight := c.lookup(target)
		if !tight.bodies.tight || len(tight.bodies.zstd) >= len(loose.bodies.zstd) || tight.Tag() != loose.Tag() {
			t.Errorf("%d bytes became %d, tight: %v", len(loose.bodies.zstd), len(tight.bodies.zstd), tight.bodies.tight)
		}
		if got, err := tight.Body(); err != nil || string(got) != script {
			t.Errorf("it does not come out as it went in: %v", err)
		}
		all := int64(0)
		for _, e := range c.entries {
			all += e.bodies.size()
		}
		if c.bytes != all {
			t.Errorf("the cache counts %d bytes and holds %d", c.bytes, all)
		}
		if c.tighten(ctx) {
			t.Error("it was packed twice")
		}
	})
}
