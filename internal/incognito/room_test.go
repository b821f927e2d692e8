package incognito

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
)

func wantGone(t *testing.T, what string, err error) {
	t.Helper()
	var p *comfy.PromptError
	if !errors.As(err, &p) {
		t.Errorf("%s: %v, want a prompt error", what, err)
		return
	}
	if p.Message != "Choose the picture again" || p.NodeID == "" || p.Class != Class {
		t.Errorf("%s: %+v, want one on the node", what, p)
	}
}

func TestOnePictureFromUploadToRun(t *testing.T) {
	g := newGate(t)
	picture, key := randomBytes(2*chunkSize+99), newKey()
	sealed := seal(t, picture, key)
	h := g.upload(alice, sealed)
	onDisk, err := os.ReadFile(filepath.Join(g.dir, h))
	if err != nil || !bytes.Equal(onDisk, sealed) {
		t.Fatalf("the file does not hold the ciphertext: %v", err)
	}
	if info, _ := os.Stat(filepath.Join(g.dir, h)); info.Mode().Perm() != 0o600 {
		t.Errorf("the file can be read by others: %v", info.Mode())
	}
	if s := g.unlock(alice, h, key); s != http.StatusOK {
		t.Fatalf("unlock: %d", s)
	}
	if !bytes.Equal(g.node.picture(h), picture) {
		t.Fatal("the companion node did not get the picture")
	}
	if err := g.queue(alice, h); err != nil {
		t.Fatal(err)
	}
	if f := g.files(); len(f) > 0 {
		t.Errorf("the ciphertext is still there after the first run: %v", f)
	}
}

func TestRunAgainNeedsTheKeyAgainAndNoCiphertext(t *testing.T) {
	g := newGate(t)
	key := newKey()
	h := g.upload(alice, seal(t, []byte("picture"), key))
	for range 3 {
		if s := g.unlock(alice, h, key); s != http.StatusOK {
			t.Fatalf("unlock: %d", s)
		}
		if err := g.queue(alice, h); err != nil {
			t.Fatal(err)
		}
		wantGone(t, "without the key", g.queue(alice, h))
	}
	if g.node.puts != 1 {
		t.Errorf("the picture was sent %d times, want once", g.node.puts)
	}
	if s := g.unlock(alice, h, newKey()); s != http.StatusGone {
		t.Errorf("another key, later: %d, want %d", s, http.StatusGone)
	}
}

// Whatever is wrong with a handle, the answer is the same.
func TestRefusalsAreAllTheSame(t *testing.T) {
	g := newGate(t)
	key := newKey()
	sealed := seal(t, randomBytes(chunkSize+5), key)
	ready := func(who account.Principal) string {
		h := g.upload(who, sealed)
		if s := g.unlock(who, h, key); s != http.StatusOK {
			t.Fatal(s)
		}
		return h
	}
	damaged := func(touch func([]byte) []byte) string { return g.upload(alice, touch(bytes.Clone(sealed))) }
	used := ready(alice)
	if err := g.queue(alice, used); err != nil {
		t.Fatal(err)
	}
	deleted := ready(alice)
	if s, _ := g.do(alice, "DELETE", Prefix+"/"+deleted, nil); s != http.StatusNoContent {
		t.Fatal(s)
	}
	_, v := g.do(alice, "POST", Prefix, fmt.Appendf(nil, `{"size": %d}`, len(sealed)))
	half := v["handle"].(string)
	g.do(alice, "PUT", Prefix+"/"+half+"?at=0", sealed[:100])
	expired := ready(alice)
	g.room.pictures[expired].touched = time.Now().Add(-2 * time.Hour)

	puts := g.node.puts
	var bodies []string
	for _, c := range []struct {
		name   string
		who    account.Principal
		handle string
		key    []byte
	}{
		{"another's, as a user", alice, ready(owner1), key},
		{"another's, as an administrator", owner1, ready(alice), key},
		{"another's, as a guest", guest, ready(alice), key},
		{"another's, with the API key", program, ready(alice), key},
		{"a second browser of the same person", alicePhone, ready(alice), key},
		{"a guest's", alice, ready(guest), key},
		{"forged", alice, newHandle(), key},
		{"nonsense", alice, "../login/PASSWORD", key},
		{"deleted", alice, deleted, key},
		{"expired", alice, expired, key},
		{"not whole", alice, half, key},
		{"a wrong key", alice, g.upload(alice, sealed), newKey()},
		{"no key", alice, g.upload(alice, sealed), nil},
		{"changed", alice, damaged(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), key},
		{"cut", alice, damaged(func(b []byte) []byte { return b[:headerSize+sealedSize] }), key},
		{"swapped", alice, damaged(func(b []byte) []byte { return append(b[:headerSize:headerSize], sealed[headerSize+21:]...) }), key},
	} {
		puts += max(0, g.node.puts-puts)
		wasSent := g.node.puts
		if c.handle != "../login/PASSWORD" {
			body := fmt.Appendf(nil, `{"key": %q}`, encodeKey(c.key))
			status, v := g.do(c.who, "POST", Prefix+"/"+c.handle+"/unlock", body)
			bodies = append(bodies, fmt.Sprint(status, v))
		}
		wantGone(t, c.name, g.queue(c.who, c.handle))
		if g.node.puts != wasSent {
			t.Errorf("%s: something reached ComfyUI", c.name)
		}
	}
	for _, b := range bodies {
		if b != bodies[0] || !strings.HasPrefix(b, "410 ") {
			t.Errorf("two refusals differ: %q and %q", b, bodies[0])
		}
	}
	wantGone(t, "used twice", g.queue(alice, used))
}

func TestOneUnlockIsOneRun(t *testing.T) {
	g := newGate(t)
	key := newKey()
	h := g.upload(alice, seal(t, []byte("picture"), key))
	g.unlock(alice, h, key)
	var ok, gone int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			err := g.queue(alice, h)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				ok++
			} else {
				gone++
			}
		})
	}
	all.Wait()
	if ok != 1 || gone != 15 {
		t.Errorf("%d prompts ran and %d did not, want 1 and 15", ok, gone)
	}
}

func TestPromptThatComfyUIRefusesUsesNothingUp(t *testing.T) {
	g := newGate(t)
	key := newKey()
	h := g.upload(alice, seal(t, []byte("picture"), key))
	g.unlock(alice, h, key)
	p, err := comfy.ParsePrompt([]byte(`{"prompt": {"1": {"class_type": "` + Class + `", "inputs": {"image": "` + h + `"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	ran, err := g.room.Take(p, alice)
	if err != nil {
		t.Fatal(err)
	}
	ran(false)
	if len(g.files()) != 1 {
		t.Error("the ciphertext is gone though nothing ran")
	}
	if err := g.queue(alice, h); err != nil {
		t.Error(err)
	}
}

func TestNodesInAPrompt(t *testing.T) {
	g := newGate(t)
	key := newKey()
	node := func(class string, image, autoDelete any) map[string]any {
		return map[string]any{"class_type": class, "inputs": map[string]any{"image": image, "auto_delete": autoDelete}}
	}
	for _, c := range []struct {
		name  string
		nodes func(h string) map[string]any
		runs  bool
		kept  bool
	}{
		{"auto_delete off", func(h string) map[string]any { return map[string]any{"1": node(Class, h, false)} }, true, true},
		{"auto_delete off as a number", func(h string) map[string]any { return map[string]any{"1": node(Class, h, 0)} }, true, true},
		{"auto_delete from another node", func(h string) map[string]any { return map[string]any{"1": node(Class, h, []any{"2", 0})} }, true, false},
		{"twice in one prompt", func(h string) map[string]any {
			return map[string]any{"1": node(Class, h, true), "2": node(Class, h, true)}
		}, true, false},
		{"twice, one without auto_delete", func(h string) map[string]any {
			return map[string]any{"1": node(Class, h, true), "2": node(Class, h, false)}
		}, true, true},
		{"under ComfyUI-Login's name", func(h string) map[string]any { return map[string]any{"1": node(legacyClass, h, true)} }, true, false},
		{"as a link", func(h string) map[string]any { return map[string]any{"1": node(Class, []any{"2", 0}, true)} }, false, true},
		{"as an object", func(h string) map[string]any {
			return map[string]any{"1": node(Class, map[string]any{"__value__": h}, true)}
		}, false, true},
		{"with a foreign one", func(h string) map[string]any {
			return map[string]any{"1": node(Class, h, true), "2": node(Class, newHandle(), true)}
		}, false, true},
		{"a file of ComfyUI-Login's", func(h string) map[string]any { return map[string]any{"1": node(legacyClass, "incognito/1.png", true)} }, true, true},
		{"no such node", func(h string) map[string]any { return map[string]any{"1": node("LoadImage", "a.png", true)} }, true, true},
	} {
		h := g.upload(alice, seal(t, []byte("picture"), key))
		g.unlock(alice, h, key)
		if err := g.queueNodes(alice, c.nodes(h)); (err == nil) != c.runs {
			t.Errorf("%s: %v", c.name, err)
		}
		if kept := len(g.files()) == 1; kept != c.kept {
			t.Errorf("%s: ciphertext kept: %v, want %v", c.name, kept, c.kept)
		}
		g.do(alice, "DELETE", Prefix+"/"+h, nil)
	}
}

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

// A picture of 100 MB goes through with the memory of a few chunks, two at
// once too.
func TestLargePicturesNeedLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("100 MB")
	}
	g := newGate(t)
	g.node.max = 200 << 20
	g.node.pictures = nil // a node that does not keep what it gets
	g.room.opt.Upstream = discard{}
	g.room.companion.up = discard{}
	key := newKey()
	picture := make([]byte, 100<<20)
	sealed := seal(t, picture, key)
	one, two := g.upload(alice, sealed), g.upload(alice, sealed)
	sealed, picture = nil, nil
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var both sync.WaitGroup
	for _, h := range []string{one, two} {
		both.Go(func() {
			if s := g.unlock(alice, h, bytes.Clone(key)); s != http.StatusOK {
				t.Errorf("unlock: %d", s)
			}
		})
	}
	both.Wait()
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("two pictures of 100 MB took %d MB of memory", used>>20)
	} else {
		t.Logf("two pictures of 100 MB took %.1f MB of memory in all", float64(used)/(1<<20))
	}
}
