package incognito

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"comfylatch/internal/account"
)

// unlock proves the key and lets one prompt name the picture. Where the
// companion node does not hold the picture yet, or no longer, the ciphertext is
// read twice: once to see that all of it is intact, and once to send it. key is
// wiped. Errors: ErrGone for whatever is the visitor's, and the companion's.
func (r *Room) unlock(ctx context.Context, handle string, key []byte, who account.Principal) error {
	defer clear(key)
	p, err := r.find(handle, who)
	if err != nil {
		return err
	}
	p.work.Lock()
	defer p.work.Unlock()
	check := checkOf(key, handle)
	r.mu.Lock()
	opened, known, stored := p.opened, hmac.Equal(p.check[:], check[:]), p.stored
	r.mu.Unlock()
	if opened && !known {
		return ErrGone
	}
	there := false
	if opened {
		if there, err = r.companion.has(ctx, handle); err != nil {
			return err
		}
	}
	if !there {
		if !stored || p.arrived != p.size {
			return ErrGone
		}
		if err := r.deliver(ctx, p, key); err != nil {
			return err
		}
	}
	r.mu.Lock()
	if r.pictures[handle] != p || r.owners[p.who].over() {
		r.mu.Unlock()
		// Deleted or logged out while it was on its way.
		r.dropUpstream(context.WithoutCancel(ctx), handle)
		return ErrGone
	}
	p.opened, p.check, p.armed = true, check, true
	r.mu.Unlock()
	r.touch(p)
	return nil
}

// checkOf recognises a key again. The key is 256 random bits, so this tells
// nothing of it.
func checkOf(key []byte, handle string) (sum [32]byte) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("comfylatch incognito " + handle))
	mac.Sum(sum[:0])
	return sum
}

// deliver sends the plain picture to the companion node. The caller holds
// p.work.
func (r *Room) deliver(ctx context.Context, p *picture, key []byte) error {
	err := r.read(p, key, func([]byte) error { return nil })
	if err != nil {
		return r.lost(err)
	}
	plain, _ := plainLength(p.size) // checked when it began
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := r.read(p, key, func(chunk []byte) error {
			_, err := pw.Write(chunk)
			return err
		})
		pw.CloseWithError(err)
		done <- err
	}()
	err = r.companion.put(ctx, p.handle, plain, pr)
	pr.CloseWithError(io.ErrClosedPipe) // the companion may have answered before the end
	if e := <-done; err == nil && e != nil {
		err = r.lost(e)
	}
	return err
}

func (r *Room) read(p *picture, key []byte, sink func([]byte) error) error {
	f, err := os.Open(r.path(p))
	if err != nil {
		return fmt.Errorf("open an encrypted picture: %w", err)
	}
	defer f.Close()
	return open(f, p.size, key, sink)
}

// lost makes ErrGone of what the visitor can mend only by choosing again.
func (r *Room) lost(err error) error {
	if errors.Is(err, errDamaged) || errors.Is(err, os.ErrNotExist) {
		return ErrGone
	}
	r.opt.Log.Error("an encrypted picture could not be read", "err", err)
	return ErrGone
}
