package upstream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// State is whether ComfyUI can be used.
type State uint8

const (
	Starting State = iota // it has been started and does not answer yet
	Up
	Down
)

func (s State) String() string { return [...]string{"starting", "up", "down"}[s] }

// State is ComfyUI's state as it was last seen. It is fresh while Run goes.
func (s *Server) State() State {
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	return s.status.state
}

// Generation counts how often ComfyUI has come up since Run began: two
// answers of different generations may come from different ComfyUIs.
func (s *Server) Generation() uint64 {
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	return s.status.generation
}

// Version is ComfyUI's version ("0.24.0"), "" while it is not known.
func (s *Server) Version() string {
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	return s.status.version
}

func (st *status) init(starts bool) {
	st.poke = make(chan struct{}, 1)
	st.state = Down
	if starts {
		st.state = Starting
	}
}

// suspect asks for a probe at once.
func (st *status) suspect() {
	select {
	case st.poke <- struct{}{}:
	default: // one is asked for already
	}
}

// refused is the quick answer while Run knows that ComfyUI is not there. One
// that is not watched is always tried.
func (s *Server) refused() error {
	if s.status.refusing.Load() {
		return fmt.Errorf("%w: it is %s", ErrUnavailable, s.State())
	}
	return nil
}

// set changes what is known. The caller holds st.mu.
func (st *status) set(state State, watched bool) {
	st.state, st.watched = state, watched
	st.refusing.Store(watched && state != Up)
}

func (s *Server) noteDown() {
	s.status.mu.Lock()
	was := s.status.state
	if was == Up {
		s.status.set(Down, s.status.watched)
	}
	s.status.mu.Unlock()
	if was == Up {
		s.log.Warn("ComfyUI does not answer any more", "url", s.URL())
		s.status.suspect()
	}
}

// noteUp is told of every first answer on a connection; again says that it
// may be another ComfyUI's than before. Nobody is let through before all that
// was learnt from the one before is forgotten.
func (s *Server) noteUp(again bool) {
	s.status.mu.Lock()
	news := s.status.state != Up || again
	if news {
		s.status.generation++
	}
	gen := s.status.generation
	s.status.mu.Unlock()
	if !news {
		return
	}
	s.health.forget()
	s.Close() // the connections in use end by themselves
	if s.opts.OnUp != nil {
		s.opts.OnUp(gen)
	}
	s.status.mu.Lock()
	s.status.set(Up, s.status.watched)
	s.status.mu.Unlock()
	s.log.Info("ComfyUI answers", "url", s.URL(), "version", s.Version())
}

// silence is how long a ComfyUI that takes connections may leave probes
// unanswered before it counts as down: custom nodes stop its event loop for
// many seconds, and that is no reason to turn everybody away.
const silence = 30 * time.Second

// Run watches ComfyUI until ctx ends. It keeps one idle connection open, so
// that a ComfyUI that ends or restarts is noticed at once, and asks for
// GET /prompt, the cheapest answer, from time to time.
func (s *Server) Run(ctx context.Context) {
	defer s.setWatched(false)
	lost := false // the connection before ended by itself
	told := ""    // the reason that the log has already
	for ctx.Err() == nil {
		var err error
		lost, err = s.watchOne(ctx, lost)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			told = ""
			continue
		}
		s.noteDown()
		s.setWatched(true)
		if why := err.Error(); errors.Is(err, ErrNotComfyUI) && why != told {
			s.log.Error("what answers is not ComfyUI", "url", s.URL(), "error", why)
			told = why
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.opts.ProbeEvery):
		}
	}
}

// setWatched says that the state is known by watching, from the first finding
// on: until then a request finds out for itself.
func (s *Server) setWatched(on bool) {
	s.status.mu.Lock()
	s.status.set(s.status.state, on)
	s.status.mu.Unlock()
}

// watchOne watches over one connection until it ends. The error says why
// ComfyUI is not up. Without one, lost tells that an open connection ended by
// itself: a good answer on the next (again) may be another ComfyUI's.
func (s *Server) watchOne(ctx context.Context, again bool) (lost bool, err error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	br := bufio.NewReaderSize(conn, 512)
	for good := false; ctx.Err() == nil; {
		conn.SetDeadline(time.Now().Add(silence))
		last, err := s.probe(conn, br)
		switch {
		case err != nil && good && !errors.Is(err, ErrNotComfyUI) && !isTimeout(err):
			return true, nil // ended between two probes
		case err != nil:
			return false, err
		}
		if !good {
			s.learnVersion(ctx)
			s.noteUp(again)
			s.setWatched(true)
			good = true
		}
		if last { // it never keeps connections open, so their end says nothing
			s.rest(ctx)
			return false, nil
		}
		if !s.idle(conn, br) {
			return true, nil
		}
	}
	return false, nil
}

// probe asks GET /prompt and checks the shape of the answer. last tells that
// no other request fits on the connection.
func (s *Server) probe(conn net.Conn, br *bufio.Reader) (last bool, err error) {
	var b bytes.Buffer
	b.WriteString("GET /prompt HTTP/1.1\r\nHost: " + s.host + "\r\n")
	h := http.Header{"Accept": {"application/json"}}
	if s.opts.Sign != nil {
		s.opts.Sign(h)
	}
	_ = h.Write(&b) // a bytes.Buffer never fails
	b.WriteString("\r\n")
	if _, err := conn.Write(b.Bytes()); err != nil {
		return true, err
	}
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		return true, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return true, err
	}
	_, err = queueRemaining(res.StatusCode, body)
	return res.Close, err
}

func queueRemaining(status int, body []byte) (int, error) {
	var p struct {
		ExecInfo *struct {
			QueueRemaining int `json:"queue_remaining"`
		} `json:"exec_info"`
	}
	if status != http.StatusOK || json.Unmarshal(body, &p) != nil || p.ExecInfo == nil {
		return 0, notComfyUI("GET /prompt", status)
	}
	return p.ExecInfo.QueueRemaining, nil
}

// idle waits for the next probe's time and tells whether the connection is
// still open then.
func (s *Server) idle(conn net.Conn, br *bufio.Reader) bool {
	conn.SetDeadline(time.Now().Add(5 * s.opts.ProbeEvery))
	heard := make(chan error, 1)
	go func() {
		_, err := br.Peek(1) // its end, the deadline, or bytes nobody asked for
		heard <- err
	}()
	select {
	case err := <-heard:
		return isTimeout(err)
	case <-s.status.poke:
		conn.SetDeadline(time.Unix(1, 0)) // ends the wait
		return isTimeout(<-heard)
	}
}

func (s *Server) rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.status.poke:
	case <-time.After(5 * s.opts.ProbeEvery):
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
