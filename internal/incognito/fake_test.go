package incognito

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// fakeNode is the companion node as the gate sees it.
type fakeNode struct {
	mu       sync.Mutex
	pictures map[string][]byte
	puts     int   // that began
	cleared  int   // DELETE of all
	status   int   // of every answer, 0 for the right one
	missing  bool  // no companion node there
	down     bool  // no ComfyUI there
	max      int64 // max_upload_size
}

func newFakeNode() *fakeNode { return &fakeNode{pictures: map[string][]byte{}, max: 100 << 20} }

func (f *fakeNode) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	down := f.down
	f.mu.Unlock()
	if down {
		return nil, errors.New("connection refused")
	}
	in := req.Clone(req.Context())
	in.URL.Path = req.URL.Opaque
	w := httptest.NewRecorder()
	if err := f.serve(w, in); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

func (f *fakeNode) serve(w *httptest.ResponseRecorder, req *http.Request) error {
	if req.URL.Path == "/features" {
		fmt.Fprintf(w, `{"supports_preview_metadata": true, "max_upload_size": %d}`, f.max)
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.missing {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	w.Header().Set(nodeHeader, "1")
	if req.Header.Get(SecretHeader) != testSecret {
		w.WriteHeader(http.StatusForbidden)
		return nil
	}
	if f.status != 0 {
		w.WriteHeader(f.status)
		return nil
	}
	handle := strings.TrimPrefix(req.URL.Path, companionPath+"/")
	switch req.Method {
	case http.MethodPut:
		f.puts++
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return err
		}
		if int64(len(body)) != req.ContentLength {
			return io.ErrUnexpectedEOF
		}
		f.pictures[handle] = body
		w.WriteHeader(http.StatusCreated)
	case http.MethodGet:
		w.WriteHeader(http.StatusNotFound)
		if _, ok := f.pictures[handle]; ok {
			w.Code = http.StatusNoContent
		}
	case http.MethodDelete:
		if req.URL.Path == companionPath {
			f.cleared++
			clear(f.pictures)
		}
		delete(f.pictures, handle)
		w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

func (f *fakeNode) picture(handle string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pictures[handle]
}

func (f *fakeNode) set(change func(*fakeNode)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// gate is a Room in front of a fake node, and the visitors' way to it.
type gate struct {
	t     *testing.T
	room  *Room
	node  *fakeNode
	dir   string // ciphertext
	ended map[string]chan struct{}
}

func newGate(t *testing.T, change ...func(*Options)) *gate {
	t.Helper()
	g := &gate{t: t, node: newFakeNode(), dir: filepath.Join(t.TempDir(), "incognito"), ended: map[string]chan struct{}{}}
	secret := filepath.Join(t.TempDir(), "node.secret")
	if err := os.WriteFile(secret, []byte(testSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: g.dir, SecretFile: secret, Upstream: g.node, Watch: func(p account.Principal) (<-chan struct{}, func()) {
		return g.session(p.Ref), func() {}
	}}
	for _, c := range change {
		c(&o)
	}
	g.room = New(o)
	return g
}

func (g *gate) session(ref string) chan struct{} {
	if ref == "" {
		return nil
	}
	if g.ended[ref] == nil {
		g.ended[ref] = make(chan struct{})
	}
	return g.ended[ref]
}

// logOut ends a session, as session.Watch tells it.
func (g *gate) logOut(who account.Principal) { close(g.session(who.Ref)) }

// do sends a request as who and gives status and JSON.
func (g *gate) do(who account.Principal, method, path string, body []byte) (int, map[string]any) {
	g.t.Helper()
	parsed, err := comfy.Parse(method, path)
	if err != nil {
		g.t.Fatal(err)
	}
	w := httptest.NewRecorder()
	g.room.ServeHTTP(w, httptest.NewRequest(method, path, bytes.NewReader(body)), parsed, who)
	var v map[string]any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			g.t.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
		}
	}
	return w.Code, v
}

// upload sends ciphertext in pieces and gives the handle.
func (g *gate) upload(who account.Principal, sealed []byte) string {
	g.t.Helper()
	status, v := g.do(who, "POST", Prefix, fmt.Appendf(nil, `{"size": %d}`, len(sealed)))
	if status != http.StatusCreated {
		g.t.Fatalf("begin: %d %v", status, v)
	}
	handle := v["handle"].(string)
	for at := 0; at < len(sealed); at += goodPiece {
		piece := sealed[at:min(at+goodPiece, len(sealed))]
		if status, v := g.do(who, "PUT", fmt.Sprintf("%s/%s?at=%d", Prefix, handle, at), piece); status != http.StatusOK {
			g.t.Fatalf("piece at %d: %d %v", at, status, v)
		}
	}
	return handle
}

func (g *gate) unlock(who account.Principal, handle string, key []byte) int {
	g.t.Helper()
	body, _ := json.Marshal(map[string]any{"key": key})
	status, _ := g.do(who, "POST", Prefix+"/"+handle+"/unlock", body)
	return status
}

// queue sends a prompt as far as the gate checks it; ComfyUI takes it.
func (g *gate) queue(who account.Principal, handles ...string) error {
	g.t.Helper()
	nodes := map[string]any{}
	for i, h := range handles {
		nodes[fmt.Sprint(i+1)] = map[string]any{"class_type": Class, "inputs": map[string]any{"image": h, "auto_delete": true}}
	}
	return g.queueNodes(who, nodes)
}

func (g *gate) queueNodes(who account.Principal, nodes map[string]any) error {
	g.t.Helper()
	body, _ := json.Marshal(map[string]any{"prompt": nodes})
	p, err := comfy.ParsePrompt(body)
	if err != nil {
		g.t.Fatal(err)
	}
	ran, err := g.room.Take(p, who)
	if err == nil {
		ran(true)
	}
	return err
}

// files are the names in the ciphertext folder.
func (g *gate) files() []string {
	entries, _ := os.ReadDir(g.dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// run begins the room's own work until the test ends.
func (g *gate) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.room.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			g.t.Error(err)
		}
	})
	g.t.Cleanup(stop)
	return stop
}

var (
	alice      = account.Principal{Role: account.User, UserID: "alice", Name: "alice", Method: account.ByCookie, Ref: "session-1"}
	alicePhone = account.Principal{Role: account.User, UserID: "alice", Name: "alice", Method: account.ByCookie, Ref: "session-2"}
	owner1     = account.Principal{Role: account.Owner, UserID: account.OwnerID, Name: "owner", Method: account.ByCookie, Ref: "session-3"}
	guest      = account.Principal{Role: account.Guest, Method: account.ByCookie, Ref: "session-4"}
	program    = account.Principal{Role: account.Admin, Name: "key", Method: account.ByKey}
)

// discard is a ComfyUI that reads everything and keeps nothing.
type discard struct{}

func (discard) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	w.Header().Set(nodeHeader, "1")
	w.WriteHeader(http.StatusCreated)
	if req.Body != nil {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return nil, err
		}
	}
	return w.Result(), nil
}

func encodeKey(key []byte) string { return base64.StdEncoding.EncodeToString(key) }
