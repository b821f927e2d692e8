package proxy

import (
	"sync"
	"time"
)

// holdTime is the longest that events are held back: ComfyUI may take long to
// look at a prompt, and what runs meanwhile has events too.
const holdTime = 300 * time.Millisecond

// Hold keeps a client's events back until release, so that the answer to its
// prompt comes first: some clients (@stable-canvas/comfyui-client) begin to
// listen only when they know the prompt's id, and a short prompt is done by
// then. Nothing is lost; ComfyUI's bytes wait in the connection.
//
// Without an open socket of this principal's it does nothing.
func (p *Proxy) Hold(clientID, principalID string) (release func()) {
	p.sockets.mu.Lock()
	s := p.sockets.newest[clientID]
	p.sockets.mu.Unlock()
	if s == nil || s.PrincipalID != principalID || !s.relaying.Load() || !s.client.frame.TryLock() {
		return func() {}
	}
	release = sync.OnceFunc(s.client.frame.Unlock)
	time.AfterFunc(holdTime, release)
	return release
}
