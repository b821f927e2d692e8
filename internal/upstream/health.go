package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// ErrNotComfyUI is wrapped by the error of Identify when a server answers, but
// not as ComfyUI does.
var ErrNotComfyUI = errors.New("not a ComfyUI")

func notComfyUI(what string, status int) error {
	why := fmt.Sprintf("%s gave %d %s", what, status, http.StatusText(status))
	switch {
	case status == http.StatusUnauthorized:
		why += ": it already asks for a login; give the address of ComfyUI itself"
	case status == http.StatusOK:
		why = what + " gave something else than ComfyUI's answer"
	case status >= 300 && status < 400:
		why += ": it leads elsewhere; give the address that it leads to"
	case status >= 500: // a proxy in between that waits for ComfyUI, perhaps
		return fmt.Errorf("%w: %s", ErrUnavailable, why)
	}
	return fmt.Errorf("%w: %s", ErrNotComfyUI, why)
}

// Health is the answer of GET /health, in the shape that the API-key guide
// documents. Memory is in bytes.
type Health struct {
	Status string `json:"status"` // "ok" or "unreachable"
	Queue  struct {
		Pending int `json:"pending"`
		Running int `json:"running"`
	} `json:"queue"`
	Device struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"device"`
	VRAM struct {
		Total int64 `json:"total"`
		Free  int64 `json:"free"`
	} `json:"vram"`
}

// OK tells whether ComfyUI answered: 200, else 503.
func (h Health) OK() bool { return h.Status == "ok" }

const (
	healthFresh   = time.Second
	healthTimeout = 5 * time.Second
	maxStats      = 4 << 20  // bytes of /system_stats
	maxQueue      = 64 << 20 // bytes of /queue, which holds whole prompts
)

// healthCache keeps one answer, and lets one request at a time renew it.
type healthCache struct {
	mu     sync.Mutex
	value  Health
	at     time.Time
	renews chan struct{} // closed when the renewal under way is done; nil when there is none
}

func (c *healthCache) forget() {
	c.mu.Lock()
	c.at = time.Time{}
	c.mu.Unlock()
}

// Health asks ComfyUI how it is, at most once a second for everybody together.
// It answers "unreachable" within five seconds when ComfyUI does not, or when
// ctx ends before.
func (s *Server) Health(ctx context.Context) Health {
	c := &s.health
	c.mu.Lock()
	for {
		if !c.at.IsZero() && time.Since(c.at) < healthFresh {
			defer c.mu.Unlock()
			return c.value
		}
		if c.renews == nil {
			break
		}
		wait := c.renews
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return Health{Status: "unreachable"}
		case <-wait:
		}
		c.mu.Lock()
	}
	done := make(chan struct{})
	c.renews = done
	c.mu.Unlock()
	// Others wait for this answer, so the one who asked going away must not
	// end it: the time limit does.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
	defer cancel()
	h, err := s.askHealth(ctx)
	if err != nil {
		h = Health{Status: "unreachable"}
		s.log.Debug("ComfyUI's health", "error", err)
	}
	c.mu.Lock()
	c.value, c.at, c.renews = h, time.Now(), nil
	c.mu.Unlock()
	close(done)
	return h
}

func (s *Server) askHealth(ctx context.Context) (h Health, err error) {
	stats, err := s.stats(ctx)
	if err != nil {
		return h, err
	}
	left, err := s.QueueLength(ctx)
	if err != nil {
		return h, err
	}
	if left > 0 { // only then the dear answer is needed
		if h.Queue.Running, h.Queue.Pending, err = s.queue(ctx); err != nil {
			return h, err
		}
	}
	if len(stats.Devices) > 0 {
		d := stats.Devices[0]
		h.Device.Name, h.Device.Type = d.Name, d.Type
		h.VRAM.Total, h.VRAM.Free = d.VRAMTotal, d.VRAMFree
	}
	h.Status = "ok"
	return h, nil
}

type systemStats struct {
	System *struct {
		OS      string `json:"os"`
		Version string `json:"comfyui_version"`
	} `json:"system"`
	Devices []struct {
		Name      string `json:"name"`
		Type      string `json:"type"`
		VRAMTotal int64  `json:"vram_total"`
		VRAMFree  int64  `json:"vram_free"`
	} `json:"devices"`
}

func (s *Server) stats(ctx context.Context) (*systemStats, error) {
	body, status, err := s.get(ctx, "/system_stats", maxStats)
	if err != nil {
		return nil, err
	}
	var st systemStats
	if status != http.StatusOK || json.Unmarshal(body, &st) != nil || st.System == nil || st.Devices == nil {
		return nil, notComfyUI("GET /system_stats", status)
	}
	return &st, nil
}

// Identify asks once whether this is a ComfyUI, for the start. Errors wrap
// ErrUnavailable where nothing answers and ErrNotComfyUI where something else
// does.
func (s *Server) Identify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	st, err := s.stats(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", s.URL(), err)
	}
	s.setVersion(st.System.Version)
	return nil
}

func (s *Server) setVersion(v string) {
	s.status.mu.Lock()
	s.status.version = v
	s.status.mu.Unlock()
}

func (s *Server) learnVersion(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	if st, err := s.stats(ctx); err == nil {
		s.setVersion(st.System.Version)
	}
}

// QueueLength is the number of prompts that run or wait.
func (s *Server) QueueLength(ctx context.Context) (int, error) {
	body, status, err := s.get(ctx, "/prompt", 64<<10)
	if err != nil {
		return 0, err
	}
	return queueRemaining(status, body)
}

// queue counts the prompts that run and that wait, one by one: together they
// may be very large.
func (s *Server) queue(ctx context.Context) (running, pending int, err error) {
	res, err := s.open(ctx, http.MethodGet, "/queue", "")
	if err != nil {
		return 0, 0, err
	}
	defer res.Body.Close()
	d := json.NewDecoder(io.LimitReader(res.Body, maxQueue))
	expect := func(want json.Delim) error {
		if t, err := d.Token(); err != nil || t != want {
			return notComfyUI("GET /queue", res.StatusCode)
		}
		return nil
	}
	if err := expect('{'); err != nil {
		return 0, 0, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return 0, 0, err
		}
		if err := expect('['); err != nil {
			return 0, 0, err
		}
		n := 0
		for ; d.More(); n++ {
			var skip json.RawMessage
			if err := d.Decode(&skip); err != nil {
				return 0, 0, fmt.Errorf("read ComfyUI's queue: %w", err)
			}
		}
		if err := expect(']'); err != nil {
			return 0, 0, err
		}
		switch key {
		case "queue_running":
			running = n
		case "queue_pending":
			pending = n
		}
	}
	return running, pending, nil
}

// Free asks ComfyUI to unload its models and forget its cached results. It
// does so when it is idle or after the prompt that runs.
func (s *Server) Free(ctx context.Context) error {
	res, err := s.open(ctx, http.MethodPost, "/free", `{"unload_models":true,"free_memory":true}`)
	if err != nil {
		return fmt.Errorf("free ComfyUI's memory: %w", err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("free ComfyUI's memory: it answered %s", res.Status)
	}
	return nil
}

func (s *Server) open(ctx context.Context, method, path, body string) (*http.Response, error) {
	r := (&http.Request{
		Method: method,
		URL:    &url.URL{Path: path},
		Header: http.Header{"Accept": {"application/json"}, "User-Agent": {"comfylatch"}},
	}).WithContext(ctx)
	if body != "" {
		r.Body = io.NopCloser(strings.NewReader(body))
		r.ContentLength = int64(len(body))
		r.Header.Set("Content-Type", "application/json")
	}
	return s.send(r)
}

func (s *Server) get(ctx context.Context, path string, most int64) (body []byte, status int, err error) {
	res, err := s.open(ctx, http.MethodGet, path, "")
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, most))
	if err != nil {
		return nil, 0, fmt.Errorf("read ComfyUI's %s: %w", path, err)
	}
	return body, res.StatusCode, nil
}
