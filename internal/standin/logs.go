package standin

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

const logLines = 300

// logRing is the tail of the server's log, which ComfyUI shows to everybody.
type logRing struct {
	mu    sync.Mutex
	lines []logEntry
}

type logEntry struct{ t, m string }

func (e logEntry) object() *object { return obj("t", e.t, "m", e.m) }

// logLine writes to the log that /internal/logs shows, to the sockets that asked for it, and to
// Config.Logger.
func (s *Server) logLine(m string) {
	e := logEntry{time.Now().Format("2006-01-02T15:04:05.000000"), m + "\n"}
	s.logs.mu.Lock()
	s.logs.lines = append(s.logs.lines, e)
	if n := len(s.logs.lines); n > logLines {
		s.logs.lines = append([]logEntry{}, s.logs.lines[n-logLines:]...)
	}
	s.logs.mu.Unlock()
	s.log.Debug(m)
	for _, sid := range s.hub.logSubscribers() {
		s.hub.send(sid, event("logs", obj("entries", list{e.object()}, "size", terminal())))
	}
}

func terminal() *object { return obj("cols", 80, "rows", 24) }

func (s *Server) logTail() []logEntry {
	s.logs.mu.Lock()
	defer s.logs.mu.Unlock()
	return append([]logEntry{}, s.logs.lines...)
}

func (s *Server) getLogs(w http.ResponseWriter, _ *http.Request, _ []string) {
	var b strings.Builder
	for _, e := range s.logTail() {
		b.WriteString(e.t + " - " + e.m)
	}
	answer(w, http.StatusOK, b.String())
}

func (s *Server) getLogsRaw(w http.ResponseWriter, _ *http.Request, _ []string) {
	entries := list{}
	for _, e := range s.logTail() {
		entries = append(entries, e.object())
	}
	answer(w, http.StatusOK, obj("entries", entries, "size", terminal()))
}

// patchLogsSubscribe is {"clientId", "enabled"}: for any client id.
func (s *Server) patchLogsSubscribe(w http.ResponseWriter, r *http.Request, _ []string) {
	v, ok := readJSON(w, r)
	if !ok {
		return
	}
	body, _ := v.(*object)
	id, named := body.get("clientId")
	on, said := body.get("enabled")
	sid, isString := id.(string)
	if !named || !said {
		crash(w)
		return
	}
	if isString {
		s.hub.subscribeLogs(sid, truthy(on))
	}
	empty(w, http.StatusOK)
}
