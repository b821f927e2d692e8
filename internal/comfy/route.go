package comfy

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
	Pass   Answer = ""       // ComfyUI does, and its answer goes through as it is
	Socket Answer = "socket" // a WebSocket is relayed
	// Our own pages and answers, made by room web.
	Login, Logout, HealthPage, GuestMode, AuthLogin, AuthInject, Latch Answer = "login", "logout", "health", "guest_mode", "auth_login", "auth_inject", "latch"
	// Extensions is ComfyUI's list of browser extensions with ours added.
	Extensions Answer = "extensions"
	// Refused is answered by nobody: the route is closed for all.
	Refused Answer = "refused"
)
