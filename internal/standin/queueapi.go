package standin

import (
	"net/http"
	"strconv"
)

func (s *Server) getQueue(w http.ResponseWriter, _ *http.Request, _ []string) {
	running, pending := s.queue.lists()
	answer(w, http.StatusOK, obj("queue_running", tuples(running), "queue_pending", tuples(pending)))
}

func tuples(items []*item) list {
	all := list{}
	for _, it := range items {
		all = append(all, it.tuple())
	}
	return all
}

// postQueue is {"clear": true} and {"delete": [ids]}: of anybody's prompts.
func (s *Server) postQueue(w http.ResponseWriter, r *http.Request, _ []string) {
	s.clearOrDelete(w, r, s.queue.clear, func(ids []string) {
		for _, id := range ids {
			s.queue.drop(id)
		}
	})
}

func (s *Server) postHistory(w http.ResponseWriter, r *http.Request, _ []string) {
	s.clearOrDelete(w, r, func() { s.queue.wipe() }, func(ids []string) {
		if len(ids) > 0 {
			s.queue.wipe(ids...)
		}
	})
}

func (s *Server) clearOrDelete(w http.ResponseWriter, r *http.Request, clear func(), remove func(ids []string)) {
	v, ok := readJSON(w, r)
	if !ok {
		return
	}
	if _, isList := v.([]any); isList {
		empty(w, http.StatusOK)
		return
	}
	body, isObject := v.(*object)
	if !isObject {
		crash(w)
		return
	}
	if c, _ := body.get("clear"); truthy(c) {
		clear()
	}
	if d, there := body.get("delete"); there {
		l, isList := d.([]any)
		if !isList {
			crash(w)
			return
		}
		var ids []string
		for _, x := range l {
			if id, ok := x.(string); ok {
				ids = append(ids, id)
			}
		}
		remove(ids)
	}
	empty(w, http.StatusOK)
}

// getHistory is GET /history?max_items=&offset=: the newest max_items, or max_items from offset
// (0 is the oldest).
func (s *Server) getHistory(w http.ResponseWriter, r *http.Request, _ []string) {
	all := s.queue.past()
	offset, size := 0, len(all)
	if v, there := query(r, "max_items"); there {
		n, err := strconv.Atoi(v)
		if err != nil {
			crash(w)
			return
		}
		size = max(n, 0)
		offset = len(all) - n
	}
	if v, there := query(r, "offset"); there {
		n, err := strconv.Atoi(v)
		if err != nil {
			crash(w)
			return
		}
		if n >= 0 {
			offset = n
		}
	}
	out := obj()
	for i, it := range all {
		if i >= offset && i-offset < size {
			out.set(it.id, it.entry)
		}
	}
	answer(w, http.StatusOK, out)
}

func (s *Server) getHistoryOf(w http.ResponseWriter, _ *http.Request, params []string) {
	out := obj()
	if it := s.queue.finished(params[0]); it != nil {
		out.set(it.id, it.entry)
	}
	answer(w, http.StatusOK, out)
}
