// Package standin is a small ComfyUI made of Go: the same routes, the same JSON, the same
// events in the same order, and nodes that really make pictures. `comfylatch demo` stands in
// front of it, and so do tests, so that neither needs Python, a GPU or models.
//
// It does not run models, custom nodes or Python. It knows about ten image nodes; any other
// class is "not found", exactly as on a ComfyUI without the custom node.
//
// The rule: what it answers is what a running ComfyUI was seen to answer. contract_test.go
// replays recordings of 0.3.64 and 0.24.0 against it, faults included: it has no login, tells
// everybody everything, and sends a stolen client id the victim's events. Never expose it
// without the gate. One fault is left out on purpose: files outside Config.Dir cannot be read.
package standin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultMaxUpload is ComfyUI's own default for --max-upload-size, in bytes.
const DefaultMaxUpload = 100 << 20

// Config says what to stand in for. The zero value is the newest version in a temporary folder.
type Config struct {
	Dir            string       // holds input, output, temp, user and models; "": a temporary folder, removed by Close
	Version        string       // Version0_3_64 or Version0_24_0; "": the newer
	FrontEndRoot   string       // the `static` folder of comfyui-frontend-package, see FindFrontEnd; "": a page of our own
	ObjectInfoFile string       // JSON (or .gz) in the shape of /object_info, merged into that answer only: such nodes cannot run
	MaxUpload      int64        // bytes per request body; 0: DefaultMaxUpload
	Record         bool         // keep the last requests received, for Requests
	Logger         *slog.Logger // nil: silent
}

// Server is a stand-in ComfyUI. It is an http.Handler; Run works off its queue.
type Server struct {
	cfg     Config
	profile profile
	log     *slog.Logger
	dir     string
	root    *os.Root // everything below dir; a path that leaves it cannot be opened
	ownDir  bool
	front   frontEnd
	defs    *object // our own node definitions, in the shape of /object_info
	extra   *object // Config.ObjectInfoFile
	router  router
	hub     hub
	queue   queue
	cache   nodeCache
	logs    logRing
	record  requestLog
	started time.Time

	settings sync.Mutex // one writer of the settings file at a time
	uploads  sync.Mutex // two uploads of one name must not choose the same free name
	running  atomic.Bool
	free     atomic.Bool // POST /free asked to drop the cache
	base     context.Context
	stop     context.CancelFunc
	sockets  sync.WaitGroup
}

// New prepares a stand-in: its folders, node definitions and routes. It starts no goroutine.
// The caller must Close it.
func New(cfg Config) (*Server, error) {
	p, err := profileFor(cfg.Version)
	if err != nil {
		return nil, err
	}
	if cfg.MaxUpload <= 0 {
		cfg.MaxUpload = DefaultMaxUpload
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, profile: p, log: cfg.Logger, started: time.Now()}
	s.base, s.stop = context.WithCancel(context.Background())
	s.hub.init()
	s.queue.init(func() { s.hub.broadcastStatus(s.queue.remaining()) })
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the stand-in ComfyUI: %w", err), s.Close())
	}
	s.addRoutes()
	s.logLine("Starting server")
	return s, nil
}

func (s *Server) prepare() error {
	var err error
	if s.dir, err = s.makeDir(); err != nil {
		return err
	}
	if s.root, err = os.OpenRoot(s.dir); err != nil {
		return err
	}
	if err = s.makeFolders(); err != nil {
		return err
	}
	if s.defs, err = ownNodes(s.profile.Version); err != nil {
		return err
	}
	if s.extra, err = readObjectInfo(s.cfg.ObjectInfoFile); err != nil {
		return err
	}
	s.front, err = openFrontEnd(s.cfg.FrontEndRoot)
	return err
}

func (s *Server) makeDir() (string, error) {
	if s.cfg.Dir == "" {
		s.ownDir = true
		return os.MkdirTemp("", "comfylatch-demo-")
	}
	dir, err := filepath.Abs(s.cfg.Dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// Dir is the folder that holds input, output, temp, user and models.
func (s *Server) Dir() string { return s.dir }

// Version is the ComfyUI version that is stood in for.
func (s *Server) Version() string { return s.profile.Version }

// Run works off the queue until ctx ends; a prompt that runs then is interrupted. It returns
// nil when ctx ended and an error when it runs already. Without Run prompts stay pending.
func (s *Server) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return errors.New("run the stand-in ComfyUI: it runs already")
	}
	defer s.running.Store(false)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.base, cancel)()
	for {
		it := s.queue.next(ctx, s.freeMemory)
		if it == nil {
			return nil
		}
		s.work(ctx, it)
	}
}

// freeMemory does what POST /free asked for.
func (s *Server) freeMemory() {
	if s.free.Swap(false) {
		s.cache.clear()
	}
}

// Close ends every socket, waits for them, and removes the temporary folder if there is one.
func (s *Server) Close() error {
	s.stop()
	s.sockets.Wait()
	var errs []error
	if s.front.root != nil {
		errs = append(errs, s.front.root.Close())
	}
	if s.root != nil {
		errs = append(errs, s.root.Close())
	}
	if s.ownDir && s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// ServeHTTP answers as ComfyUI does: origin check first, then routes, then static files.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Record {
		s.record.add(r)
	}
	w.Header().Set("Server", "Python/3.11 aiohttp/3.13.2")
	cw := &cacheWriter{ResponseWriter: w, path: r.URL.Path, profile: s.profile}
	if s.foreign(r) {
		cw.WriteHeader(http.StatusForbidden)
		return
	}
	if r.Method == http.MethodOptions {
		cw.WriteHeader(http.StatusOK)
		return
	}
	if r.Body != nil {
		// aiohttp refuses a body over the limit while it is read, and so does this.
		r.Body = struct {
			io.Reader
			io.Closer
		}{http.MaxBytesReader(w, r.Body, s.cfg.MaxUpload), r.Body}
	}
	s.route(cw, r)
}
