package standin

import (
	"crypto/sha256"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
)

// cacheBytes bounds what the newer kind of cache keeps.
const cacheBytes = 256 << 20

// nodeCache keeps the results of nodes by what went into them, whoever's prompt that was.
// 0.3.64 keeps only what the previous prompt used; 0.24.0 keeps all until memory runs short.
type nodeCache struct {
	classic bool
	mu      sync.Mutex
	entries map[string]*cached
	clock   int
}

type cached struct {
	result
	used int // clock of the last prompt that used it
	size int // bytes, about
}

func (c *nodeCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = nil
}

// begin starts a prompt that uses these keys, and makes room.
func (c *nodeCache) begin(keys map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	for _, k := range keys {
		if e := c.entries[k]; e != nil {
			e.used = c.clock
		}
	}
	total := 0
	var old []string
	for k, e := range c.entries {
		if c.classic && e.used != c.clock {
			delete(c.entries, k)
			continue
		}
		total += e.size
		old = append(old, k)
	}
	sort.Slice(old, func(i, j int) bool { return c.entries[old[i]].used < c.entries[old[j]].used })
	for _, k := range old {
		if total <= cacheBytes {
			return
		}
		total -= c.entries[k].size
		delete(c.entries, k)
	}
}

func (c *nodeCache) get(key string) (result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil || key == "" {
		return result{}, false
	}
	return e.result, true
}

func (c *nodeCache) put(key string, r result) {
	if key == "" {
		return
	}
	size := 0
	for _, v := range r.values {
		if p, ok := v.([]picture); ok {
			size += 4 * pixels(p)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[string]*cached{}
	}
	c.entries[key] = &cached{result: r, used: c.clock, size: size}
}

// cacheKeys are the signatures of the nodes of a graph: the class, the constants, and the
// signatures of what they link to. Files count by their content. A node whose file cannot be
// read has none and always runs.
func (s *Server) cacheKeys(g graph) map[string]string {
	keys := map[string]string{}
	var key func(id string) string
	key = func(id string) string {
		if k, there := keys[id]; there {
			return k
		}
		keys[id] = "" // until known: a node that leads to itself never gets one
		n := g[id]
		if n == nil || n.inputs == nil {
			return ""
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%q", n.class)
		if name := validatesItself[n.class]; name != "" {
			sum, ok := s.fileSum(n.inputs.str(name))
			if !ok {
				return ""
			}
			b.WriteString(sum)
		}
		names := append([]string{}, n.inputs.keys...)
		sort.Strings(names)
		linked := map[string]bool{}
		for _, from := range n.sources() {
			linked[from] = true
		}
		for _, name := range names {
			v := n.inputs.vals[name]
			if l, ok := v.([]any); ok && len(l) == 2 {
				if from, ok := l[0].(string); ok && linked[from] {
					source := key(from)
					if source == "" {
						return ""
					}
					v = list{"link", source, l[1]}
				}
			}
			fmt.Fprintf(&b, "%q%s", name, dumps(v))
		}
		keys[id] = fmt.Sprintf("%x", sha256.Sum256([]byte(b.String())))
		return keys[id]
	}
	for id := range g {
		key(id)
	}
	return keys
}

func (s *Server) fileSum(name string) (string, bool) {
	f, err := s.open(annotated(name, "input"))
	if err != nil {
		return "", false
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", false
	}
	return fmt.Sprintf("%x", h.Sum(nil)), true
}
