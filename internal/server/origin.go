package server

import (
	"net/http"
	"net/url"
	"strings"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
)

// crossSite says why a request must be taken for one that a foreign page made
// a browser send, or "" when it need not. Only credentials that a browser adds
// by itself are in danger: cookies, no credential at all, and Basic, which it
// remembers once http://any:KEY@host/ was opened.
//
// Browsers tell the truth in Sec-Fetch-Site (on HTTPS and localhost) and in
// Origin (on every POST and every WebSocket). What tells neither is refused
// where it changes something, so that an odd client cannot be used (ComfyUI
// CVE-2026-56674: "Origin: null" was let through).
func crossSite(r *http.Request, x *exchange) string {
	who, req, p := x.who, x.req, x.peer
	program := who.Method == account.ByToken || who.Method == account.ByKey
	if program && !x.basic {
		return ""
	}
	own := originIsOwn(r.Header.Get("Origin"), p)
	if req.Route.Answer == comfy.Socket { // SameSite does not cover sockets of a sibling site
		if own == foreign {
			return "a page of another origin opened the socket"
		}
		return ""
	}
	if own == foreign {
		return "the request comes from a page of another origin"
	}
	site := r.Header.Get("Sec-Fetch-Site")
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case site == "same-origin" || own == same:
		return ""
	case program && site == "": // Basic, and not a browser of today
		return ""
	case site == "none": // typed into the address bar
		if safe {
			return ""
		}
	case site != "": // cross-site, same-site: another port of this machine is same-site too
		if safe && r.Header.Get("Sec-Fetch-Mode") == "navigate" && req.Least() != comfy.Admins {
			return ""
		}
		if safe && req.Least() == comfy.Public {
			return ""
		}
		return "the request comes from another site"
	case safe:
		// Old ComfyUI-Managers act on GET (reboot, install); a link must not.
		// Pages of custom nodes may be opened by their address.
		from := originIsOwn(r.Header.Get("Referer"), p)
		if who.Role != account.Anonymous && req.Least() == comfy.Admins && from != same && (req.Route != comfy.Unknown || from == foreign) {
			return "a browser did not say which page asks for this"
		}
		return ""
	}
	// Neither header, and it changes something. Logging in and out are left to
	// programs that do not send them: the first proves itself, the second does
	// no harm, and a browser would have said where it comes from.
	if own == unsaid && site == "" && (req.Route.Answer == comfy.Login || req.Route.Answer == comfy.Logout || req.Route.Answer == comfy.AuthLogin || who.Role == account.Anonymous) {
		return ""
	}
	return "a browser did not say which page asks for this"
}

type ownership uint8

const (
	unsaid ownership = iota
	same
	foreign
)

// originIsOwn compares an Origin (or Referer) with the host that was asked.
func originIsOwn(origin string, p peer) ownership {
	if origin == "" {
		return unsaid
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return foreign // "null" among them
	}
	if p.secure && u.Scheme != "https" {
		return foreign
	}
	if !strings.EqualFold(u.Host, p.host) {
		return foreign
	}
	return same
}
