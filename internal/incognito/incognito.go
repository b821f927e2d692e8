// Package incognito takes pictures that were encrypted in the browser, keeps
// nothing but the ciphertext, and hands the plain picture to ComfyUI's
// companion node for one run at a time.
//
// It never sees a key before a run, never writes one down, and holds no more
// than one chunk (1 MiB) of a plain picture at once. It does not decode
// pictures: the companion node (folder node/) does, in ComfyUI's own way.
//
// The rule that must hold: a handle is worth something only to the session or
// token that it was given to, and only after that has shown the key; nothing
// reaches ComfyUI before the whole ciphertext was found intact; and every
// reason to refuse looks the same from outside.
package incognito

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"comfylatch/internal/account"
)

// Class is the companion node's class_type in a prompt, and Input its input
// that holds the handle.
const (
	Class = "LatchLoadImageIncognito"
	Input = "image"
)

// Upstream sends a request to ComfyUI: *upstream.Server does.
type Upstream interface {
	RoundTrip(*http.Request) (*http.Response, error)
}

// Options are what a Room is made of.
type Options struct {
	// Dir is the folder for ciphertext. It belongs to the Room: Run empties it.
	Dir string
	// SecretFile holds what the gate and the companion node share. It may
	// appear, or change, at any time.
	SecretFile string
	Upstream   Upstream
	// Watch gives a channel that is closed when the principal's session or
	// token has ended. release is called when nobody waits any more.
	Watch func(account.Principal) (ended <-chan struct{}, release func())
	Log   *slog.Logger

	Life  time.Duration // of a picture that nobody touches: one hour
	Total int64         // bytes of all ciphertext on the disk: 4 GiB
}

// Pictures that one principal may hold at once. The oldest makes room.
const (
	maxHeld      = 32
	maxHeldGuest = 4
)

var (
	// ErrGone is every reason why a handle is worth nothing: never given out,
	// somebody else's, expired, deleted, used, changed, or a wrong key.
	ErrGone = errors.New("choose the picture again")
	errFull = errors.New("the disk space for private pictures is full")
)

// Room keeps the pictures. Make it with New; Run must be running.
type Room struct {
	opt       Options
	companion companion
	limit     limitCache

	mu         sync.Mutex
	pictures   map[string]*picture // by handle
	owners     map[owner]*session
	bytes      int64 // of all ciphertext, as announced
	guestBytes int64 // of guests' ciphertext
}

// owner is who a picture belongs to: the same person in another browser is
// another.
type owner struct{ id, ref string }

func ownerOf(p account.Principal) owner { return owner{p.ID(), p.Ref} }

// session is an owner who holds something.
type session struct {
	ended   <-chan struct{} // nil: never ends
	release func()
	held    []*picture // oldest first
}

func (s *session) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// picture is one upload. Its ciphertext goes, the record stays a while: the
// picture may still be in the companion node's memory.
type picture struct {
	handle string
	who    owner
	size   int64 // bytes of ciphertext, announced at the start
	guest  bool

	// work is held while the file is read or written. It comes before Room.mu.
	work    sync.Mutex
	arrived int64 // bytes; guarded by work

	// Guarded by Room.mu:
	touched time.Time
	stored  bool     // the ciphertext is on the disk
	opened  bool     // was unlocked at least once
	check   [32]byte // tells the key again without knowing it; valid if opened
	armed   bool     // one prompt may name it
}

// New makes a Room. It starts nothing.
func New(o Options) *Room {
	if o.Life <= 0 {
		o.Life = time.Hour
	}
	if o.Total <= 0 {
		o.Total = 4 << 30
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Watch == nil {
		o.Watch = func(account.Principal) (<-chan struct{}, func()) { return nil, func() {} }
	}
	return &Room{opt: o, companion: companion{up: o.Upstream, secretFile: o.SecretFile},
		pictures: make(map[string]*picture), owners: make(map[owner]*session)}
}

const (
	sweepEvery = 500 * time.Millisecond // log-outs show within a second
	retryEvery = 5 * time.Second
)

// Run removes what an earlier run left behind, and then what has expired or
// belongs to a session that has ended, until ctx ends. Then it removes all.
func (r *Room) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var asked time.Time
	told := false
	for {
		if !told && time.Since(asked) >= retryEvery {
			// Pictures of an earlier run have lost their owners.
			asked = time.Now()
			told = !errors.Is(r.companion.dropIdle(ctx), errNoAnswer)
		}
		select {
		case <-ctx.Done():
			return r.Clean()
		case <-tick.C:
			r.sweep(ctx, time.Now())
		}
	}
}

// Clean removes every ciphertext. It is called before anything was uploaded,
// and at the end.
func (r *Room) Clean() error {
	entries, err := os.ReadDir(r.opt.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for left-over pictures: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), handlePrefix) {
			continue // not ours
		}
		if err := os.Remove(filepath.Join(r.opt.Dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove a left-over picture: %w", err)
		}
	}
	_ = os.Remove(r.opt.Dir) // stays if something else is in it
	return nil
}

func (r *Room) sweep(ctx context.Context, now time.Time) {
	var gone []*picture
	var loggedOut []string
	r.mu.Lock()
	for _, s := range r.owners {
		over := s.over()
		for _, p := range s.held {
			if over {
				loggedOut = append(loggedOut, p.handle)
			}
			if over || now.Sub(p.touched) > r.opt.Life {
				gone = append(gone, p)
			}
		}
	}
	r.mu.Unlock()
	for _, p := range gone {
		r.remove(p)
	}
	// What has merely expired here may still be in the queue; the companion
	// node forgets by itself. What was logged out goes at once.
	for _, h := range loggedOut {
		r.dropUpstream(ctx, h)
	}
}

func (r *Room) dropUpstream(ctx context.Context, handle string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := r.companion.drop(ctx, handle); err != nil && !errors.Is(err, errNoNode) {
		r.opt.Log.Warn("a private picture could not be dropped from ComfyUI's memory; it goes by itself within the hour", "err", err)
	}
}

// remove forgets a picture and deletes its ciphertext.
func (r *Room) remove(p *picture) {
	r.deleteFile(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pictures[p.handle] != p {
		return
	}
	delete(r.pictures, p.handle)
	s := r.owners[p.who]
	for i, q := range s.held {
		if q == p {
			s.held = append(s.held[:i:i], s.held[i+1:]...)
			break
		}
	}
	if len(s.held) == 0 {
		s.release()
		delete(r.owners, p.who)
	}
}

// deleteFile removes the ciphertext, if it is still there.
func (r *Room) deleteFile(p *picture) {
	r.mu.Lock()
	stored := p.stored
	if stored {
		r.store(p, false)
	}
	r.mu.Unlock()
	if stored {
		if err := os.Remove(r.path(p)); err != nil && !errors.Is(err, os.ErrNotExist) {
			r.opt.Log.Warn("an encrypted picture could not be deleted", "err", err)
		}
	}
}

func (r *Room) path(p *picture) string { return filepath.Join(r.opt.Dir, p.handle) }

// find gives a principal's own picture, or ErrGone.
func (r *Room) find(handle string, who account.Principal) (*picture, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pictures[handle]
	if p == nil || p.who != ownerOf(who) || time.Since(p.touched) > r.opt.Life || r.owners[p.who].over() {
		return nil, ErrGone
	}
	return p, nil
}

func (r *Room) touch(p *picture) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.touched = time.Now()
}

const handlePrefix = "pic_"

func newHandle() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return handlePrefix + base64.RawURLEncoding.EncodeToString(b[:])
}
