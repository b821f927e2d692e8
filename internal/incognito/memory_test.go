package incognito

import (
	"bytes"
	"net/http"
	"runtime"
	"sync"
	"testing"
)

// A picture of 100 MB goes through with the memory of a few chunks, two at
// once too.
func TestLargePicturesNeedLittleMemory(t *testing.T) {
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
