package incognito

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"comfylatch/internal/account"
)

// begin makes room for a picture of so many encrypted bytes. Errors: errFull,
// a *sizeError.
func (r *Room) begin(ctx context.Context, size int64, who account.Principal) (*picture, error) {
	plain, err := plainLength(size)
	limit := r.limit.get(ctx, r.opt.Upstream)
	if err != nil || plain > limit {
		return nil, &sizeError{limit}
	}
	if err := os.MkdirAll(r.opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for encrypted pictures: %w", err)
	}
	for _, old := range r.crowded(size, limit, who) {
		r.remove(old)
	}
	p := &picture{handle: newHandle(), who: ownerOf(who), size: size}
	f, err := os.OpenFile(r.path(p), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the file of an encrypted picture: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("make the file of an encrypted picture: %w", err)
	}
	if !r.add(p, who) {
		os.Remove(r.path(p))
		return nil, errFull
	}
	return p, nil
}

// add takes a picture in, if there is room on the disk. Guests, who need not be
// known to come back under another name, share a quarter of it.
func (r *Room) add(p *picture, who account.Principal) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.guest = who.Role == account.Guest
	if r.bytes+p.size > r.opt.Total || p.guest && r.guestBytes+p.size > r.opt.Total/4 {
		return false
	}
	s := r.owners[p.who]
	if s == nil {
		s = &session{}
		s.ended, s.release = r.opt.Watch(who)
		r.owners[p.who] = s
	}
	s.held = append(s.held, p)
	p.touched = time.Now()
	r.store(p, true)
	r.pictures[p.handle] = p
	return true
}

// store notes that the ciphertext is on the disk, or no longer. The caller
// holds r.mu.
func (r *Room) store(p *picture, stored bool) {
	n := p.size
	if !stored {
		n = -n
	}
	p.stored = stored
	r.bytes += n
	if p.guest {
		r.guestBytes += n
	}
}

// crowded gives the oldest pictures of somebody who holds as many as they may:
// by number, and four of the largest by their bytes.
func (r *Room) crowded(size, limit int64, who account.Principal) []*picture {
	most, bytes := maxHeld, 4*sealedLength(limit)
	if who.Role == account.Guest {
		most, bytes = maxHeldGuest, sealedLength(limit)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.owners[ownerOf(who)]
	if s == nil {
		return nil
	}
	bytes -= size
	keep := len(s.held)
	for ; keep > 0 && len(s.held)-keep < most-1; keep-- {
		if p := s.held[keep-1]; p.stored {
			if bytes -= p.size; bytes < 0 {
				break
			}
		}
	}
	return slices.Clone(s.held[:keep])
}

// sizeError refuses a picture that is empty or too large.
type sizeError struct{ limit int64 }

func (e *sizeError) Error() string { return fmt.Sprintf("a picture is 1 to %d bytes", e.limit) }

// placeError says where the next piece belongs.
type placeError struct{ at int64 }

func (e *placeError) Error() string { return fmt.Sprintf("the next piece begins at %d", e.at) }

// write adds a piece of at most maxPiece bytes at its place. What arrived
// before a failure stays, and the upload can go on from there. Errors: ErrGone,
// *placeError, those of the body and the disk.
func (r *Room) write(handle string, at int64, body io.Reader, who account.Principal) (int64, error) {
	p, err := r.find(handle, who)
	if err != nil {
		return 0, err
	}
	p.work.Lock()
	defer p.work.Unlock()
	if at != p.arrived || p.arrived == p.size {
		return p.arrived, &placeError{p.arrived}
	}
	// Not created here: a picture that was removed meanwhile must stay so.
	f, err := os.OpenFile(r.path(p), os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0, ErrGone
	}
	if err != nil {
		return p.arrived, fmt.Errorf("open the file of an encrypted picture: %w", err)
	}
	n, err := io.Copy(io.NewOffsetWriter(f, at), io.LimitReader(body, p.size-at))
	p.arrived += n
	r.touch(p)
	if e := f.Close(); err == nil && e != nil {
		err = e
	}
	if err == nil && p.arrived == p.size {
		if m, _ := io.ReadFull(body, make([]byte, 1)); m > 0 {
			err = &placeError{p.arrived} // more than was announced
		}
	}
	return p.arrived, err
}

// forget deletes a picture here and in ComfyUI's memory. What is not there, or
// somebody else's, is left alone without a word.
func (r *Room) forget(ctx context.Context, handle string, who account.Principal) {
	p, err := r.find(handle, who)
	if err != nil {
		return
	}
	r.mu.Lock()
	opened := p.opened
	r.mu.Unlock()
	r.remove(p)
	if opened {
		r.dropUpstream(ctx, handle)
	}
}
