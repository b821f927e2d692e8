package comfy

import "strings"

// Access is the least role that may use a route. It is ComfyUI knowledge, so
// it stands here; package policy compares it with a principal's role.
type Access uint8

const (
	Admins Access = iota // the zero value: what is not said is for administrators
	Users
	Guests
	Public // nobody needs to be known
)

func (a Access) String() string {
	return [...]string{"admin", "user", "guest", "public"}[a]
}

// Answer says who answers a route.
type Answer string

const (
	Pass   Answer = ""       // ComfyUI, and its answer goes through as it is
	Socket Answer = "socket" // ComfyUI, over a WebSocket that is relayed

	// Room web: our own pages.
	Login      Answer = "login"
	Logout     Answer = "logout"
	HealthPage Answer = "health"
	GuestMode  Answer = "guest_mode"
	AuthLogin  Answer = "auth_login"
	AuthInject Answer = "auth_inject"
	Latch      Answer = "latch"

	Extensions Answer = "extensions" // ComfyUI's list of browser extensions, with ours added
	Prompt     Answer = "prompt"     // passed on after the body was checked
	Upload     Answer = "upload"     // passed on after the form was checked
	Own        Answer = "own"        // guests get what is theirs, others everything
	Blank      Answer = "blank"      // guests get what a new user would, others the real thing
	Closed     Answer = "closed"     // refused for everybody
	Page       Answer = "page"       // ComfyUI's page, with the addresses of its build
	Build      Answer = "build"      // a file of a build of the frontend
	Refresh    Answer = "refresh"    // what is kept of the node definitions is dropped
)

// Keep says whether an answer is the same for everybody and may be kept.
type Keep uint8

const (
	KeepNot     Keep = iota
	KeepChecked      // compared with ComfyUI every few seconds
	KeepRenewed      // costly to make: given at once, renewed behind it
)

// Route is one line of the table.
type Route struct {
	Methods string // separated by spaces; "GET" includes HEAD, "*" is any
	Pattern string // "{x}" is one segment, "{x%}" one that may hold "%2F", "{x...}" the rest (one or more)
	Least   Access
	Answer  Answer
	Keep    Keep
	// Together: a read whose answer is the same for the same request, so that
	// who ask at once share one (proxy/coalesce.go).
	Together bool
	Plain    bool   // has no "/api" twin: with one it is another, unknown route
	Run      bool   // a token of scope run may use it, though it changes something that guests may not
	Touches  string // what it reads or changes, for docs/roles.md
	Stops    string // the CVE or report that a rule here answers

	slashes uint32 // bit i: segment i may hold whole paths; from Pattern
}

// slashAt tells whether segment i may hold whole paths.
func (r *Route) slashAt(i int) bool { return r.slashes>>i&1 != 0 }

func slashes(pattern string) (bits uint32) {
	for i, part := range strings.Split(pattern, "/")[1:] {
		if strings.HasSuffix(part, "%}") {
			bits |= 1 << i
		}
	}
	return bits
}

// Unknown is the route of everything that the table does not name: custom
// nodes register whatever they like, so it is for administrators.
var Unknown = &Route{Methods: "*", Pattern: "(any other)", Least: Admins, Touches: "whatever a custom node registered"}

// trie finds a route by its segments: literal before {x} before {x...}.
type trie struct {
	literal map[string]*trie
	one     *trie
	rest    *trie
	routes  []*Route // that end here
}

var plain, twin = build()

// build makes two tries: for paths without "/api" in front, and with.
func build() (plain, twin *trie) {
	plain, twin = &trie{}, &trie{}
	for i := range Table {
		r := &Table[i]
		r.slashes = slashes(r.Pattern)
		p, apiOnly := strings.CutPrefix(r.Pattern, "/api/")
		if apiOnly {
			twin.add("/"+p, r)
			continue
		}
		plain.add(r.Pattern, r)
		if !r.Plain {
			twin.add(r.Pattern, r)
		}
	}
	return plain, twin
}

func (t *trie) add(pattern string, r *Route) {
	for seg := range strings.SplitSeq(strings.TrimPrefix(pattern, "/"), "/") {
		switch {
		case seg == "":
		case strings.HasSuffix(seg, "...}"):
			if t.rest == nil {
				t.rest = &trie{}
			}
			t = t.rest
		case strings.HasPrefix(seg, "{"):
			if t.one == nil {
				t.one = &trie{}
			}
			t = t.one
		default:
			if t.literal == nil {
				t.literal = make(map[string]*trie)
			}
			next := t.literal[seg]
			if next == nil {
				next = &trie{}
				t.literal[seg] = next
			}
			t = next
		}
	}
	t.routes = append(t.routes, r)
}

func (t *trie) find(method string, segs []string) *Route {
	if len(segs) == 0 {
		for _, r := range t.routes {
			if r.allows(method) {
				return r
			}
		}
		return nil
	}
	if next := t.literal[segs[0]]; next != nil {
		if r := next.find(method, segs[1:]); r != nil {
			return r
		}
	}
	if t.one != nil {
		if r := t.one.find(method, segs[1:]); r != nil {
			return r
		}
	}
	if t.rest != nil {
		return t.rest.find(method, nil)
	}
	return nil
}

func (r *Route) allows(method string) bool {
	if r.Methods == "*" {
		return true
	}
	for m := range strings.SplitSeq(r.Methods, " ") {
		if m == method || (m == "GET" && method == "HEAD") {
			return true
		}
	}
	return false
}

// match gives the route of a canonical path, Unknown where there is none. A
// trailing slash makes a path another one, which ComfyUI's router does not
// know, except for the index under "/api/".
func match(method string, twins int, segs []string, slash bool) *Route {
	t := plain
	if twins > 0 {
		t = twin
	}
	if slash && len(segs) > 0 {
		return Unknown
	}
	if r := t.find(method, segs); r != nil {
		return r
	}
	return Unknown
}
