package incognito

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
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
