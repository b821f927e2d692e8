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
	num, ok := s.priority(body) // counts even for what is refused below
	if !ok || isString {
		crash(w)
		return
	}
	it, refused, ok := s.newItem(body)
	switch {
	case !ok:
		crash(w)
		return
	case it == nil:
		s.logLine("invalid prompt: " + repr(refused.object("error")))
		answer(w, http.StatusBadRequest, refused)
		return
	}
	it.number = num
	s.queue.put(it)
	s.logLine("got prompt")
	answer(w, http.StatusOK, obj("prompt_id", it.id, "number", num, "node_errors", it.nodeErrors))
}

// newItem makes a queue item of a request. Without one there is a refusal, or not ok: a crash.
func (s *Server) newItem(body *object) (it *item, refused *object, ok bool) {
	raw, there := body.get("prompt")
	if !there {
		return nil, refusal("no_prompt", "No prompt provided", "No prompt provided"), true
	}
	prompt, isObject := raw.(*object)
	if !isObject {
		if l, isList := raw.([]any); !isList || len(l) > 0 || s.profile.modern {
			return nil, nil, false
		}
		prompt = obj()
	}
	id, ok := s.promptID(body)
	if !ok {
		return nil, refusal("invalid_prompt_id", "prompt_id must be a valid UUID",
			"prompt_id must be a UUID string in canonical lowercase hyphenated form; omit it to let the server generate one"), true
	}
	targets, ok := partialTargets(body)
	if !ok {
		return nil, nil, false
	}
	checked, crashed := s.validate(prompt, targets)
	if crashed {
		return nil, nil, false
	}
	if checked.err != nil {
		return nil, obj("error", checked.err, "node_errors", checked.nodeErrors), true
	}
	extra, c, ok := extraData(body)
	if !ok {
		return nil, nil, false
	}
	it = &item{id: id, prompt: prompt, extra: extra, outputs: checked.outputs, client: c, created: time.Now().UnixMilli(),
		graph: checked.graph, nodeErrors: checked.nodeErrors}
	if s.profile.modern {
		for _, k := range secretKeys {
			extra.del(k)
		}
		extra.set("create_time", it.created)
	}
	return it, nil, true
}

// refusal is the body of a prompt refused before its nodes were looked at.
func refusal(kind, message, details string) *object {
	return obj("error", promptError(kind, message, details, obj()), "node_errors", obj())
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
