// Package isolate gives a person their own view of a ComfyUI that all share.
//
// So far that is for guests: they see and end their own prompts only, and
// their files lie in a folder of their own. Users and administrators see
// everything, as in ComfyUI. The package rewrites values; it asks nobody.
//
// The rule that must hold: what is not known to be somebody's is not theirs.
package isolate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"comfylatch/internal/account"
)

// Ledger remembers whose prompt is whose, the newest few thousand. It is lost
// when the gate restarts: then a guest's old prompts are nobody's.
type Ledger struct {
	mu     sync.Mutex
	owners map[string]string // prompt id → principal id
	order  []string          // a ring: the oldest is forgotten
	next   int
}

const ledgerSize = 20_000

// NewLedger makes an empty one.
func NewLedger() *Ledger {
	return &Ledger{owners: make(map[string]string), order: make([]string, ledgerSize)}
}

// Note writes down a prompt's owner. The first one stays.
func (l *Ledger) Note(promptID, owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.owners[promptID]; known || promptID == "" {
		return
	}
	delete(l.owners, l.order[l.next])
	l.order[l.next] = promptID
	l.next = (l.next + 1) % ledgerSize
	l.owners[promptID] = owner
}

// Owns tells whether the prompt is the owner's.
func (l *Ledger) Owns(promptID, owner string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.owners[promptID] == owner
}

// Taken tells whether the prompt is known to be somebody else's.
func (l *Ledger) Taken(promptID, by string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	owner, known := l.owners[promptID]
	return known && owner != by
}

// Folder is where a guest's files lie, below ComfyUI's input and output
// folders. It cannot be guessed from outside, and says nothing of the session.
func Folder(p account.Principal) string {
	return "guests/" + account.NewSecret("folder:" + p.ID()).Hash()[:12]
}

// InFolder tells whether a subfolder is the guest's own.
func InFolder(p account.Principal, subfolder string) bool {
	own := Folder(p)
	return subfolder == own || strings.HasPrefix(subfolder, own+"/")
}

// MayRead tells whether a guest may have a file of ComfyUI's folders: their
// own, those that a workflow begins with (input) and previews, whose names are
// random (temp). kind is the folder, name the path below it.
func MayRead(p account.Principal, kind, name string) bool {
	if strings.Contains(name, "..") || strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\\:\x00") {
		return false
	}
	name = path.Clean(name)
	if InFolder(p, name) {
		return true
	}
	return (kind == "input" || kind == "temp") && !guestFolder(name)
}

// guestFolder tells a name in the folder of some guest, as file systems that
// do not tell cases apart would read it.
func guestFolder(name string) bool {
	first, _, _ := strings.Cut(path.Clean(name), "/")
	return strings.EqualFold(first, "guests")
}

// Foreign tells whether a name leads into the folder of another guest.
func Foreign(p account.Principal, name string) bool {
	return guestFolder(name) && !InFolder(p, path.Clean(name))
}

// Keep says which prompts stay in a view.
type Keep func(promptID string) bool

// Queue filters the answer of GET /queue: two lists of
// [number, id, prompt, extra_data, outputs].
func Queue(body []byte, keep Keep) ([]byte, error) {
	var q map[string][]json.RawMessage
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("read ComfyUI's queue: %w", err)
	}
	for name, items := range q {
		q[name] = slices.DeleteFunc(items, func(item json.RawMessage) bool { return !keep(queueID(item)) })
	}
	return marshal(q)
}

func queueID(item json.RawMessage) string {
	var parts []json.RawMessage
	var id string
	if json.Unmarshal(item, &parts) == nil && len(parts) > 1 {
		json.Unmarshal(parts[1], &id)
	}
	return id
}

// QueueIDs lists the prompts of GET /queue: those running and those waiting.
func QueueIDs(body []byte) (running, pending []string, err error) {
	var q struct {
		Running []json.RawMessage `json:"queue_running"`
		Pending []json.RawMessage `json:"queue_pending"`
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, nil, fmt.Errorf("read ComfyUI's queue: %w", err)
	}
	for _, item := range q.Running {
		running = append(running, queueID(item))
	}
	for _, item := range q.Pending {
		pending = append(pending, queueID(item))
	}
	return running, pending, nil
}

// History filters the answer of GET /history: an object by prompt id, in order.
func History(body []byte, keep Keep) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("read ComfyUI's history: it is not an object")
	}
	out := bytes.NewBufferString("{")
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("read ComfyUI's history: %w", err)
		}
		id, _ := t.(string)
		var item json.RawMessage
		if err := d.Decode(&item); err != nil {
			return nil, fmt.Errorf("read ComfyUI's history: %w", err)
		}
		if !keep(id) {
			continue
		}
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		key, _ := json.Marshal(id)
		out.Write(key)
		out.WriteByte(':')
		out.Write(item)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// Jobs filters the answer of GET /api/jobs. Its pagination counts what is left.
func Jobs(body []byte, keep Keep) ([]byte, error) {
	var list struct {
		Jobs       []json.RawMessage          `json:"jobs"`
		Pagination map[string]json.RawMessage `json:"pagination"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("read ComfyUI's jobs: %w", err)
	}
	list.Jobs = slices.DeleteFunc(list.Jobs, func(job json.RawMessage) bool {
		var j struct {
			ID string `json:"id"`
		}
		return json.Unmarshal(job, &j) != nil || !keep(j.ID)
	})
	if list.Jobs == nil {
		list.Jobs = []json.RawMessage{}
	}
	if list.Pagination != nil {
		list.Pagination["total"] = json.RawMessage(fmt.Sprint(len(list.Jobs)))
		list.Pagination["has_more"] = json.RawMessage("false")
	}
	return marshal(list)
}

// Stats takes the command line, with its paths and flags, out of the answer
// of GET /system_stats.
func Stats(body []byte) ([]byte, error) {
	var stats map[string]json.RawMessage
	if err := json.Unmarshal(body, &stats); err != nil {
		return nil, fmt.Errorf("read ComfyUI's system_stats: %w", err)
	}
	var system map[string]json.RawMessage
	if err := json.Unmarshal(stats["system"], &system); err != nil {
		return nil, fmt.Errorf("read ComfyUI's system_stats: %w", err)
	}
	system["argv"] = json.RawMessage(`["main.py"]`)
	var err error
	if stats["system"], err = marshal(system); err != nil {
		return nil, err
	}
	return marshal(stats)
}

// marshal is json.Marshal without changing "<" in what ComfyUI wrote.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
