package server

import (
	"net/http"
	"net/netip"
	"strings"
)

// peer is who is at the other end of a connection, and how they came.
type peer struct {
	addr   netip.Addr // the visitor's address; the zero Addr on a unix socket
	host   string     // the host that the visitor asked for
	secure bool       // HTTPS as the visitor sees it
	local  bool       // a person at the gate's own machine, nothing in between
}

// String is for the log.
func (p peer) String() string {
	if !p.addr.IsValid() {
		return "unix"
	}
	return p.addr.String()
}

// forwarding are the headers, as net/http spells them, by which a proxy shows itself. Whoever came
// through one is not local, whatever the address says.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via", "Cf-Connecting-Ip", "True-Client-Ip"}

// findPeer believes X-Forwarded-* only from trusted peers (none by default;
// oauth2-proxy CVE-2026-76835 trusted all) and from a unix socket, which no
// other machine can reach.
func (s *Server) findPeer(r *http.Request) peer {
	p := peer{host: r.Host, secure: r.TLS != nil}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	unix := err != nil
	if !unix {
		p.addr = ap.Addr().Unmap().WithZone("")
	}
	if unix || s.trusted(p.addr) {
		s.believe(&p, r.Header)
		return p
	}
	for _, h := range forwarding {
		if len(r.Header[h]) > 0 {
			return p
		}
	}
	// A bare "proxy_pass" of nginx says none of these and names loopback as the
	// host, but speaks HTTP/1.0, as no browser or curl of today does.
	p.local = p.addr.IsLoopback() && loopbackHost(r.Host) && r.ProtoAtLeast(1, 1)
	return p
}

func (s *Server) believe(p *peer, h http.Header) {
	if proto := h.Get("X-Forwarded-Proto"); proto != "" {
		p.secure = proto == "https"
	}
	if host := h.Get("X-Forwarded-Host"); host != "" && !strings.ContainsAny(host, ", /\\") {
		p.host = host
	}
	// The last address that no trusted proxy has added is the visitor's: what
	// stands left of it, the visitor may have written.
	chain := strings.Split(strings.Join(h.Values("X-Forwarded-For"), ","), ",")
	for i := len(chain) - 1; i >= 0; i-- {
		a, err := netip.ParseAddr(strings.TrimSpace(chain[i]))
		if err != nil {
			return
		}
		p.addr = a.Unmap().WithZone("")
		if !s.trusted(p.addr) {
			return
		}
	}
}

func (s *Server) trusted(a netip.Addr) bool {
	for _, p := range s.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// loopbackHost tells whether a Host header names this machine itself. A name
// that merely resolves to it (DNS rebinding) does not.
func loopbackHost(host string) bool {
	name := hostname(host)
	if name == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && a.IsLoopback()
}

// hostname is a Host header without its port and brackets, in lower case.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") && strings.Count(host, ":") == 1 || strings.Contains(host, "]:") {
		host = host[:i]
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}
