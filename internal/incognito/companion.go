package incognito

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// What the gate and the companion node (folder node/) say to one another. No
// visitor reaches these routes: they are Closed in comfy.Table.
//
//	PUT    /comfylatch/pictures/{handle}   the plain picture; 201
//	GET    /comfylatch/pictures/{handle}   204 it is in memory, 404 it is not
//	DELETE /comfylatch/pictures/{handle}   204
//	DELETE /comfylatch/pictures            204; those that no prompt waits for
const (
	companionPath = "/comfylatch/pictures"
	// SecretHeader proves that a request is the gate's.
	SecretHeader = "Comfylatch-Secret"
	nodeHeader   = "Comfylatch-Node" // its version, in every answer
)

var (
	errNoAnswer = errors.New("ComfyUI does not answer")
	errNoNode   = errors.New("ComfyUI has no companion node: install it with comfylatch node install --comfyui DIR, and restart ComfyUI")
	errSecret   = errors.New("the companion node does not know this gate: install it again with comfylatch node install and the gate's own --comfyui or --state, and restart ComfyUI")
	errMemory   = errors.New("ComfyUI has no memory left for private pictures: try again in a while")
)

type companion struct {
	up         Upstream
	secretFile string
}

// put hands over a plain picture of n bytes. If the body fails half-way, the
// node keeps nothing.
func (c *companion) put(ctx context.Context, handle string, n int64, body io.Reader) error {
	status, err := c.send(ctx, http.MethodPut, "/"+handle, n, body)
	switch {
	case err != nil:
		return err
	case status == http.StatusInsufficientStorage:
		return errMemory
	case status != http.StatusCreated:
		return fmt.Errorf("hand a picture to the companion node: it answered with status %d", status)
	}
	return nil
}

func (c *companion) has(ctx context.Context, handle string) (bool, error) {
	status, err := c.send(ctx, http.MethodGet, "/"+handle, 0, nil)
	return status == http.StatusNoContent, err
}

func (c *companion) drop(ctx context.Context, handle string) error {
	_, err := c.send(ctx, http.MethodDelete, "/"+handle, 0, nil)
	return err
}

func (c *companion) dropIdle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := c.send(ctx, http.MethodDelete, "", 0, nil)
	return err
}

// Errors: errNoAnswer, errNoNode, errSecret.
func (c *companion) send(ctx context.Context, method, path string, n int64, body io.Reader) (int, error) {
	secret, err := ReadSecret(c.secretFile)
	if err != nil {
		return 0, errNoNode
	}
	// An own context: a body that fails must break the request off.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req := (&http.Request{Method: method, URL: &url.URL{Opaque: companionPath + path}, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{SecretHeader: {secret}, "User-Agent": {""}}}).WithContext(ctx)
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(body), n
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	res, err := c.up.RoundTrip(req)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	switch {
	case res.Header.Get(nodeHeader) == "":
		return 0, errNoNode
	case res.StatusCode == http.StatusForbidden:
		return 0, errSecret
	}
	return res.StatusCode, nil
}

// limitCache knows ComfyUI's max_upload_size, in bytes.
type limitCache struct {
	mu    sync.Mutex
	bytes int64
	until time.Time
}

const (
	defaultLimit = 100 << 20 // ComfyUI's default, --max-upload-size 100
	mostLimit    = 1 << 30   // whatever ComfyUI says: a picture has to fit into memory
)

func (l *limitCache) get(ctx context.Context, up Upstream) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.After(l.until) {
		l.until = now.Add(time.Minute)
		if n, err := askLimit(ctx, up); err == nil {
			l.bytes = min(n, mostLimit)
		}
	}
	if l.bytes <= 0 {
		return defaultLimit
	}
	return l.bytes
}

func askLimit(ctx context.Context, up Upstream) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req := (&http.Request{Method: http.MethodGet, URL: &url.URL{Opaque: "/features"}, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"User-Agent": {""}}}).WithContext(ctx)
	res, err := up.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return 0, err
	}
	var features struct {
		Max float64 `json:"max_upload_size"`
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&features); err != nil {
		return 0, err
	}
	return int64(features.Max), nil
}
