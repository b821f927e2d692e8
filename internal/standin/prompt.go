package standin

import (
	"bytes"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func (s *Server) getPrompt(w http.ResponseWriter, _ *http.Request, _ []string) {
	answer(w, http.StatusOK, execInfo(s.queue.remaining()))
}

var canonicalUUID = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// secretKeys are the comfy.org credentials in extra_data. 0.3.64 shows them in /queue and drops
// them on the way to the history; 0.24.0 drops them at once.
var secretKeys = []string{"auth_token_comfy_org", "api_key_comfy_org"}

// postPrompt validates a graph and puts it into the queue.
func (s *Server) postPrompt(w http.ResponseWriter, r *http.Request, _ []string) {
	v, ok := readJSON(w, r)
	if !ok {
		return
	}
	body, isObject := v.(*object)
	_, isList := v.([]any)
	_, isString := v.(string)
	if !isObject && !isList && !isString {
		crash(w)
		return
	}
	num, ok := s.priority(body)
	if !ok || isString {
		crash(w)
		return
	}
	raw, there := body.get("prompt")
	if !there {
		answer(w, http.StatusBadRequest, refusal("no_prompt", "No prompt provided", "No prompt provided", obj(), obj()))
		return
	}
	prompt, ok := raw.(*object)
	if !ok {
		if l, isList := raw.([]any); !isList || len(l) > 0 || s.profile.modern {
			crash(w)
			return
		}
		prompt = obj()
	}
	id, ok := s.promptID(body)
	if !ok {
		answer(w, http.StatusBadRequest, refusal("invalid_prompt_id", "prompt_id must be a valid UUID",
			"prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let the server generate one", obj(), obj()))
		return
	}
	targets, ok := partialTargets(body)
	if !ok {
		crash(w)
		return
	}
	checked, crashed := s.validate(prompt, targets)
	switch {
	case crashed:
		crash(w)
		return
	case checked.err != nil:
		s.logLine("invalid prompt: " + repr(checked.err))
		answer(w, http.StatusBadRequest, obj("error", checked.err, "node_errors", checked.nodeErrors))
		return
	}
	extra, c, ok := extraData(body)
	if !ok {
		crash(w)
		return
	}
	it := &item{number: num, id: id, prompt: prompt, extra: extra, outputs: checked.outputs, client: c, created: time.Now().UnixMilli(), graph: checked.graph}
	if s.profile.modern {
		for _, k := range secretKeys {
			extra.del(k)
		}
		extra.set("create_time", it.created)
	}
	s.queue.put(it)
	s.logLine("got prompt")
	answer(w, http.StatusOK, obj("prompt_id", id, "number", num, "node_errors", checked.nodeErrors))
}

// refusal is the body of a refused prompt.
func refusal(kind, message, details string, extra, nodeErrors *object) *object {
	return obj("error", promptError(kind, message, details, extra), "node_errors", nodeErrors)
}

func promptError(kind, message, details string, extra *object) *object {
	return obj("type", kind, "message", message, "details", details, "extra_info", extra)
}

// priority is the prompt's number: its own as a float, or the next count, negative for `front`.
func (s *Server) priority(body *object) (number, bool) {
	if v, there := body.get("number"); there {
		switch v := v.(type) {
		case number:
			return pythonFloat(v.float()), true
		case bool:
			if v {
				return "1.0", true
			}
			return "0.0", true
		case string:
			f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return pythonFloat(f), err == nil
		}
		return "", false
	}
	n := s.queue.nextNumber()
	if front, _ := body.get("front"); truthy(front) {
		n = -n
	}
	return number(strconv.Itoa(n)), true
}

func (s *Server) promptID(body *object) (string, bool) {
	v, there := body.get("prompt_id")
	if !there || v == nil && s.profile.modern {
		return newUUID(), true
	}
	if !s.profile.modern {
		return str(v), true // any value at all, even null, which becomes "None"
	}
	id, _ := v.(string)
	return id, canonicalUUID.MatchString(id)
}

// partialTargets are the output nodes to which the run is limited; nil means all.
func partialTargets(body *object) (map[string]bool, bool) {
	v, _ := body.get("partial_execution_targets")
	if v == nil {
		return nil, true
	}
	l, ok := v.([]any)
	if !ok {
		return nil, false
	}
	only := map[string]bool{}
	for _, x := range l {
		if id, ok := x.(string); ok {
			only[id] = true
		}
	}
	return only, true
}

// extraData is the prompt's extra_data with the client id in it, and that client.
func extraData(body *object) (*object, client, bool) {
	extra := obj()
	if v, there := body.get("extra_data"); there {
		o, ok := v.(*object)
		if !ok {
			return nil, client{}, false // 0.3.64 takes it, and its worker dies of it
		}
		extra = o
	}
	if v, there := body.get("client_id"); there {
		extra.set("client_id", v)
	}
	v, _ := extra.get("client_id")
	if sid, ok := v.(string); ok {
		return extra, client{given: true, sid: sid}, true
	}
	return extra, client{given: v != nil, sid: "\x00"}, true // a number is a client that is never connected
}

// truthy is Python's idea of true.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case number:
		return v.float() != 0
	case []any:
		return len(v) > 0
	case *object:
		return v.len() > 0
	}
	return true
}

func (s *Server) postInterrupt(w http.ResponseWriter, r *http.Request, _ []string) {
	b, ok := readBody(w, r)
	if !ok {
		return
	}
	v, err := parse(bytes.NewReader(b))
	body, isObject := v.(*object)
	if err == nil && !isObject {
		crash(w)
		return
	}
	id, _ := body.get("prompt_id")
	// Without an id whoever runs is interrupted, whosever it is.
	s.queue.interruptRunning(func(current string) bool { return !truthy(id) || id == current })
	empty(w, http.StatusOK)
}

func (s *Server) postFree(w http.ResponseWriter, r *http.Request, _ []string) {
	v, ok := readJSON(w, r)
	if !ok {
		return
	}
	body, isObject := v.(*object)
	if !isObject {
		crash(w)
		return
	}
	if free, _ := body.get("free_memory"); truthy(free) {
		// The worker drops the cache: at once when idle, else after the current prompt.
		s.free.Store(true)
		s.queue.poke()
	}
	empty(w, http.StatusOK)
}
