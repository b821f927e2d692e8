package incognito

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestComfyUIRestarts(t *testing.T) {
	g := newGate(t)
	key := newKey()
	forget := func(f *fakeNode) { clear(f.pictures) }

	before := g.upload(alice, seal(t, []byte("before the first run"), key))
	g.node.set(forget)
	if s := g.unlock(alice, before, key); s != http.StatusOK {
		t.Errorf("between upload and run: %d", s)
	}
	g.node.set(forget)
	if s := g.unlock(alice, before, key); s != http.StatusOK {
		t.Errorf("between unlock and run: %d", s)
	}
	if err := g.queue(alice, before); err != nil {
		t.Fatal(err)
	}
	g.node.set(forget)
	if s := g.unlock(alice, before, key); s != http.StatusGone {
		t.Errorf("after the run: %d, want %d", s, http.StatusGone)
	}

	g.node.set(func(f *fakeNode) { f.down = true })
	h := g.upload(alice, seal(t, []byte("picture"), key))
	if s := g.unlock(alice, h, key); s != http.StatusServiceUnavailable {
		t.Errorf("while it is away: %d, want %d", s, http.StatusServiceUnavailable)
	}
	g.node.set(func(f *fakeNode) { f.down = false })
	if s := g.unlock(alice, h, key); s != http.StatusOK {
		t.Errorf("when it is back: %d", s)
	}
}

func TestCompanionNodeIsMissingOrStrange(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*fakeNode)
	}{
		{"not installed", func(f *fakeNode) { f.missing = true }},
		{"another gate's", func(f *fakeNode) { f.status = http.StatusForbidden }},
		{"full", func(f *fakeNode) { f.status = http.StatusInsufficientStorage }},
		{"broken", func(f *fakeNode) { f.status = http.StatusInternalServerError }},
	} {
		g := newGate(t)
		g.node.set(c.change)
		key := newKey()
		h := g.upload(alice, seal(t, []byte("picture"), key))
		if s := g.unlock(alice, h, key); s != http.StatusServiceUnavailable {
			t.Errorf("%s: %d, want %d", c.name, s, http.StatusServiceUnavailable)
		}
		wantGone(t, c.name, g.queue(alice, h))
	}
}

func TestGateRestartsAndIsKilled(t *testing.T) {
	g := newGate(t)
	key := newKey()
	h := g.upload(alice, seal(t, []byte("picture"), key))
	g.unlock(alice, h, key)
	// Killed: no Clean. The next one begins over the same folder.
	next := newGate(t, func(o *Options) { o.Dir, o.Upstream = g.dir, g.node })
	next.node = g.node
	if err := next.room.Clean(); err != nil {
		t.Fatal(err)
	}
	if f := g.files(); len(f) > 0 {
		t.Errorf("left behind: %v", f)
	}
	next.run()
	for end := time.Now().Add(10 * time.Second); next.node.picture(h) != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the picture is still in ComfyUI's memory")
		}
	}
	if s := next.unlock(alice, h, key); s != http.StatusGone {
		t.Errorf("the old handle: %d, want %d", s, http.StatusGone)
	}
	wantGone(t, "the old handle", next.queue(alice, h))
}

func TestCleanTouchesOnlyItsOwnFiles(t *testing.T) {
	g := newGate(t)
	g.upload(alice, seal(t, []byte("picture"), newKey()))
	if err := os.WriteFile(filepath.Join(g.dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.room.Clean(); err != nil {
		t.Fatal(err)
	}
	if f := g.files(); len(f) != 1 || f[0] != "notes.txt" {
		t.Errorf("in the folder: %v, want the foreign file alone", f)
	}
}

func TestLogOutTakesEverythingAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		stop := g.run()
		defer stop()
		key := newKey()
		waiting := g.upload(alice, seal(t, []byte("not yet run"), key))
		ran := g.upload(alice, seal(t, []byte("has run"), key))
		other := g.upload(alicePhone, seal(t, []byte("elsewhere"), key))
		g.unlock(alice, ran, key)
		if err := g.queue(alice, ran); err != nil {
			t.Fatal(err)
		}
		g.logOut(alice)
		if s := g.unlock(alice, waiting, key); s != http.StatusGone {
			t.Errorf("at once: %d, want %d", s, http.StatusGone)
		}
		time.Sleep(time.Second)
		if f := g.files(); len(f) != 1 || f[0] != other {
			t.Errorf("on the disk: %v, want the other browser's alone", f)
		}
		if g.node.picture(ran) != nil {
			t.Error("ComfyUI still holds the picture")
		}
		g.room.mu.Lock()
		defer g.room.mu.Unlock()
		if len(g.room.owners) != 1 {
			t.Errorf("%d sessions are remembered, want 1", len(g.room.owners))
		}
	})
}

func TestUnusedCiphertextDiesAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t)
		stop := g.run()
		defer stop()
		h := g.upload(program, seal(t, []byte("picture"), newKey()))
		time.Sleep(59 * time.Minute)
		if f := g.files(); len(f) != 1 || f[0] != h {
			t.Fatalf("within the hour: %v", f)
		}
		time.Sleep(2 * time.Minute)
		if f := g.files(); len(f) > 0 {
			t.Errorf("after the hour: %v", f)
		}
		g.room.mu.Lock()
		defer g.room.mu.Unlock()
		if g.room.bytes != 0 || len(g.room.pictures) != 0 {
			t.Errorf("%d bytes and %d pictures are remembered", g.room.bytes, len(g.room.pictures))
		}
	})
}

func TestUploadsGoOnWhereTheyBroke(t *testing.T) {
	g := newGate(t)
	key := newKey()
	sealed := seal(t, []byte("a small picture"), key)
	_, v := g.do(alice, "POST", Prefix, fmt.Appendf(nil, `{"size": %d}`, len(sealed)))
	at := Prefix + "/" + v["handle"].(string) + "?at="
	g.do(alice, "PUT", at+"0", sealed[:10])
	if s, v := g.do(alice, "PUT", at+"5", sealed[5:]); s != http.StatusConflict || v["at"] != 10.0 {
		t.Errorf("a piece at the wrong place: %d %v", s, v)
	}
	if s, _ := g.do(alicePhone, "PUT", at+"10", sealed[10:]); s != http.StatusGone {
		t.Errorf("a piece from elsewhere: %d", s)
	}
	if s, _ := g.do(alice, "PUT", at+"10", append(bytes.Clone(sealed[10:]), 0)); s != http.StatusConflict {
		t.Errorf("more than was announced: %d", s)
	}
	if s := g.unlock(alice, v["handle"].(string), key); s != http.StatusOK {
		t.Errorf("unlock: %d", s)
	}
}

func TestLimits(t *testing.T) {
	g := newGate(t, func(o *Options) { o.Total = 40 << 10 })
	g.node.max = 10 << 10
	for name, size := range map[string]int64{"too large": sealedLength(10<<10 + 1), "empty": headerSize, "negative": -5, "huge": 1 << 62} {
		if s, _ := g.do(alice, "POST", Prefix, fmt.Appendf(nil, `{"size": %d}`, size)); s != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d", name, s)
		}
	}
	largest := seal(t, randomBytes(9<<10), newKey())
	first := g.upload(guest, largest)
	g.upload(guest, largest)
	if s := g.unlock(guest, first, newKey()); s != http.StatusGone || len(g.files()) != 1 {
		t.Errorf("a guest's second large picture left the first: %v", g.files())
	}
	another := guest
	another.Ref = "session-9"
	if s, _ := g.do(another, "POST", Prefix, fmt.Appendf(nil, `{"size": %d}`, len(largest))); s != http.StatusInsufficientStorage {
		t.Errorf("guests fill more than their share: %d", s)
	}
	for range 2 * maxHeld {
		g.upload(alice, seal(t, []byte("small"), newKey()))
	}
	if n := len(g.room.owners[ownerOf(alice)].held); n != maxHeld {
		t.Errorf("somebody holds %d pictures, want %d", n, maxHeld)
	}
}
