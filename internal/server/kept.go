package server

import (
	"net/http"
	"regexp"
	"strings"

	"comfylatch/internal/account"
	"comfylatch/internal/cache"
	"comfylatch/internal/comfy"
)

// nodeDefinitions is the target under which /object_info is kept, whichever
// form was asked for.
const nodeDefinitions = "/object_info"

// kept answers from the cache what is the same for everybody. It tells whether
// it did; where not, the request is passed on.
func (s *Server) kept(w http.ResponseWriter, r *http.Request, x *exchange) bool {
	// With a query anybody could have the same file kept and compressed under
	// any number of targets, and the frontend's files are open to strangers.
	if !cache.Cacheable(r) || len(x.req.Query) > 0 {
		return false
	}
	target, kind := x.req.Target(), cache.Checked
	if x.req.Route.Keep == comfy.KeepRenewed {
		target, kind = nodeDefinitions, cache.Renewed
	}
	e, err := s.Cache.Get(r.Context(), target, kind)
	if err != nil {
		return false
	}
	control := cache.Private
	if x.req.Least() == comfy.Public {
		control = cache.Revalidate
		if fingerprinted(x.req) {
			control = cache.Immutable
		}
	}
	return e.Serve(w, r, control) == nil
}

// fingerprint is how the frontend's bundler ends the names of what it makes:
// eight characters of a hash.
var fingerprint = regexp.MustCompile(`-[A-Za-z0-9_-]{8}\.[a-z0-9]+$`)

func fingerprinted(req *comfy.Request) bool {
	return len(req.Segments) > 1 && req.Segments[0] == "assets" && fingerprint.MatchString(req.Segments[len(req.Segments)-1])
}

// page answers with ComfyUI's page, in which the frontend's files stand under
// the address of their build.
func (s *Server) page(w http.ResponseWriter, r *http.Request, x *exchange) {
	if cache.Cacheable(r) && len(x.req.Query) == 0 && x.req.Twins == 0 {
		s.Cache.Expect()
		if e, err := s.Cache.Page(r.Context()); err == nil && e.Serve(w, r, cache.Private) == nil {
			return
		}
	}
	s.pass(w, r, x)
}

// build answers with a file of a build of the frontend.
func (s *Server) build(w http.ResponseWriter, r *http.Request, x *exchange) {
	build, file := x.req.Segments[2], strings.Join(x.req.Segments[3:], "/") // behind _latch, fe
	e, err := s.Cache.File(r.Context(), build, file)
	if err != nil {
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "This file does not belong to the frontend that ComfyUI serves now.", http.StatusNotFound)
		return
	}
	if x.who.Role != account.Anonymous {
		s.Cache.Loaded(build, file) // a stranger could name any
	}
	if err := e.Serve(w, r, cache.Immutable); err != nil {
		panic(err) // what we compressed can be made plain again
	}
}
