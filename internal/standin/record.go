package standin

import (
	"net/http"
	"sync"
)

// maxRecorded bounds how many requests Requests can return.
const maxRecorded = 1000

// Request is a request as it arrived, for tests that must know what reached ComfyUI.
type Request struct {
	Method string
	URI    string // the request target exactly as it was sent
	Host   string
	Header http.Header
}

type requestLog struct {
	mu  sync.Mutex
	all []Request
}

func (l *requestLog) add(r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == maxRecorded {
		l.all = append([]Request{}, l.all[1:]...)
	}
	l.all = append(l.all, Request{Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header.Clone()})
}

// Requests returns the last requests received, oldest first. It needs Config.Record.
func (s *Server) Requests() []Request {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	return append([]Request{}, s.record.all...)
}

// ForgetRequests empties what Requests returns.
func (s *Server) ForgetRequests() {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	s.record.all = nil
}
