package standin

import (
	"crypto/sha256"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
)

// nodeCache keeps the results of the nodes of the last prompt by what went into them, whoever's
// prompt that was. (0.24.0 calls its cache RAM_PRESSURE; seen from outside it keeps no more.)
type nodeCache struct {
	mu      sync.Mutex
	entries map[string]result
}

func (c *nodeCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = nil
}

// begin starts a prompt whose nodes have these keys, and forgets the rest.
func (c *nodeCache) begin(keys map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := map[string]result{}
	for _, k := range keys {
		if r, there := c.entries[k]; there {
			kept[k] = r
		}
	}
	c.entries = kept
}

func (c *nodeCache) get(key string) (result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, there := c.entries[key]
	return r, there
}

// put keeps a result; one without a key is never kept.
func (c *nodeCache) put(key string, r result) {
	if key == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[string]result{}
	}
	c.entries[key] = r
}

// cacheKeys are the signatures of the nodes of a graph: the class, the constants, and the
// signatures of what they link to. Files count by their content. A node that sends its result
// away, or whose file cannot be read, has none and always runs.
func (s *Server) cacheKeys(g graph) map[string]string {
	keys := map[string]string{}
	var key func(id string) string
	key = func(id string) string {
		if k, there := keys[id]; there {
			return k
		}
		keys[id] = "" // until known: a node that leads to itself never gets one
		n := g[id]
		if n == nil || n.inputs == nil || n.class == "SaveImageWebsocket" {
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
