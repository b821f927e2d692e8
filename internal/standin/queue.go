package standin

import (
	"container/heap"
	"context"
	"sync"
)

// maxHistory is ComfyUI's bound on the number of finished prompts it remembers.
const maxHistory = 10000

// item is a prompt on its way through the queue.
type item struct {
	number     number // priority: the lowest runs first, equal ones by id
	id         string
	prompt     *object
	extra      *object // extra_data
	outputs    []string
	client     client
	created    int64 // milliseconds
	graph      graph
	nodeErrors *object // of outputs that will not run
	entry      *object // its entry in the history, once it has run
	finished   outcome
}

// tuple is the shape of an item in /queue and /history.
func (it *item) tuple() list {
	return list{it.number, it.id, it.prompt, it.extra, it.outputs}
}

type priority []*item

func (p priority) Len() int { return len(p) }
func (p priority) Less(i, j int) bool {
	a, b := p[i].number.float(), p[j].number.float()
	return a < b || a == b && p[i].id < p[j].id
}
func (p priority) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *priority) Push(x any)   { *p = append(*p, x.(*item)) }
func (p *priority) Pop() any {
	old := *p
	x := old[len(old)-1]
	*p = old[:len(old)-1]
	return x
}

// queue holds what waits, what runs and what has run.
type queue struct {
	mu        sync.Mutex
	pending   priority
	current   *item
	node      string // that current executes; "" before the first
	interrupt context.CancelFunc
	history   map[string]*item
	order     []string // of history, oldest first
	counter   int      // the next prompt's number
	wake      chan struct{}
	changed   func() // called outside the lock after each change of the length
}

func (q *queue) init(changed func()) {
	q.history, q.wake, q.changed = map[string]*item{}, make(chan struct{}, 1), changed
}

// nextNumber counts the prompts that came without a number of their own; refused ones too.
func (q *queue) nextNumber() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counter++
	return q.counter - 1
}

func (q *queue) put(it *item) {
	q.mu.Lock()
	heap.Push(&q.pending, it)
	q.mu.Unlock()
	q.changed()
	q.poke()
}

// poke wakes the worker.
func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for a prompt and makes it the current one; nil when ctx has ended. between is
// called each time before looking.
func (q *queue) next(ctx context.Context, between func()) *item {
	for {
		if ctx.Err() != nil {
			return nil
		}
		between()
		q.mu.Lock()
		if len(q.pending) > 0 {
			it := heap.Pop(&q.pending).(*item)
			q.current, q.node = it, ""
			q.mu.Unlock()
			q.changed()
			return it
		}
		q.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-q.wake:
		}
	}
}

// done moves the current prompt into the history.
func (q *queue) done(it *item) {
	q.mu.Lock()
	q.current, q.interrupt = nil, nil
	if _, there := q.history[it.id]; there {
		q.forget(it.id)
	}
	q.history[it.id] = it
	q.order = append(q.order, it.id)
	if len(q.order) > maxHistory {
		q.forget(q.order[0])
	}
	q.mu.Unlock()
	q.changed()
}

func (q *queue) remaining() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.pending)
	if q.current != nil {
		n++
	}
	return n
}

// lists copies what runs and what waits, the latter in the order of the heap, as ComfyUI shows it.
func (q *queue) lists() (running, pending []*item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.current != nil {
		running = append(running, q.current)
	}
	return running, append(pending, q.pending...)
}

func (q *queue) clear() {
	q.mu.Lock()
	q.pending = nil
	q.mu.Unlock()
	q.changed()
}

// drop takes a waiting prompt out; one that runs already stays.
func (q *queue) drop(id string) {
	q.mu.Lock()
	found := false
	for i, it := range q.pending {
		if it.id == id {
			q.pending = append(q.pending[:i], q.pending[i+1:]...)
			heap.Init(&q.pending)
			found = true
			break
		}
	}
	q.mu.Unlock()
	if found {
		q.changed()
	}
}

// setInterrupt hands over how to interrupt the current prompt.
func (q *queue) setInterrupt(f context.CancelFunc) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.interrupt = f
}

// interruptRunning stops the current prompt if match says so.
func (q *queue) interruptRunning(match func(id string) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.current != nil && q.interrupt != nil && match(q.current.id) {
		q.interrupt()
	}
}

func (q *queue) setNode(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.node = id
}

// lastNode is the node that runs now, if the current prompt belongs to sid.
func (q *queue) lastNode(sid string) (string, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.current == nil || !q.current.client.given || q.current.client.sid != sid || q.node == "" {
		return "", false
	}
	return q.node, true
}

// past copies the history, oldest first.
func (q *queue) past() []*item {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]*item, len(q.order))
	for i, id := range q.order {
		all[i] = q.history[id]
	}
	return all
}

func (q *queue) finished(id string) *item {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.history[id]
}

func (q *queue) wipe(ids ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if ids == nil {
		q.history, q.order = map[string]*item{}, nil
	}
	for _, id := range ids {
		q.forget(id)
	}
}

func (q *queue) forget(id string) {
	if _, there := q.history[id]; !there {
		return
	}
	delete(q.history, id)
	for i, x := range q.order {
		if x == id {
			q.order = append(q.order[:i:i], q.order[i+1:]...)
			return
		}
	}
}
