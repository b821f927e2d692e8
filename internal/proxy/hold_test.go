package proxy

import (
	"testing"
	"testing/synctest"
	"time"

	"comfylatch/internal/upstream"
)

func TestEventsAreHeldBackForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Options{Upstream: &upstream.Server{}})
		s := &socket{Presence: Presence{PrincipalID: "ann", ClientID: "c"}, client: &leg{}}
		p.sockets.newest["c"] = s
		free := func() bool {
			if !s.client.frame.TryLock() {
				return false
			}
			s.client.frame.Unlock()
			return true
		}
		if p.Hold("c", "ann")(); !free() {
			t.Error("a socket whose relay has not begun is held")
		}
		s.relaying.Store(true)
		if release := p.Hold("c", "ben"); !free() {
			t.Error("another's events are held")
			release()
		}
		p.Hold("none", "ann")()
		release := p.Hold("c", "ann")
		if free() {
			t.Error("the events are not held")
		}
		if p.Hold("c", "ann")(); free() { // a second one meanwhile changes nothing
			t.Error("the events are not held any more")
		}
		release()
		release()
		if !free() {
			t.Error("the events are held still")
		}
		p.Hold("c", "ann")
		time.Sleep(holdTime + time.Millisecond)
		synctest.Wait()
		if !free() {
			t.Error("the events are held for too long")
		}
	})
}
