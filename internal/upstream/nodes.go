package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Nodes knows where ComfyUI found each of its node classes. It asks
// /object_info once for each generation of ComfyUI, and again when a class is
// missing, at most every ten seconds: that answer takes ComfyUI half a second.
type Nodes struct {
	up *Server

	mu         sync.Mutex
	modules    map[string]string
	generation uint64
	asked      time.Time
}

const (
	maxObjectInfo   = 256 << 20 // bytes
	nodesAskAgain   = 10 * time.Second
	nodesAskTimeout = 60 * time.Second
)

// NewNodes makes an empty one.
func NewNodes(up *Server) *Nodes { return &Nodes{up: up} }

// Module gives the python_module of a class ("nodes", "custom_nodes.x"), and
// whether ComfyUI has the class. An error says that ComfyUI could not be asked.
func (n *Nodes) Module(ctx context.Context, class string) (module string, known bool, err error) {
	n.mu.Lock() // whoever comes meanwhile waits for the same answer
	defer n.mu.Unlock()
	module, known = n.modules[class]
	fresh := n.modules != nil && n.generation == n.up.Generation()
	if fresh && (known || time.Since(n.asked) < nodesAskAgain) {
		return module, known, nil
	}
	if err := n.ask(ctx); err != nil {
		return "", false, err
	}
	module, known = n.modules[class]
	return module, known, nil
}

func (n *Nodes) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, nodesAskTimeout)
	defer cancel()
	generation := n.up.Generation()
	body, status, err := n.up.get(ctx, "/object_info", maxObjectInfo)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("it answered %d", status)
	}
	var info map[string]struct {
		Module string `json:"python_module"`
	}
	if err == nil {
		err = json.Unmarshal(body, &info)
	}
	if err == nil && len(info) == 0 {
		err = errors.New("it has no nodes")
	}
	if err != nil {
		return fmt.Errorf("ask ComfyUI for its nodes: %w", err)
	}
	modules := make(map[string]string, len(info))
	for class, i := range info {
		modules[class] = i.Module
	}
	n.modules, n.generation, n.asked = modules, generation, time.Now()
	return nil
}
