// Package policy decides whether a principal may make a request.
//
// It never touches the network, the clock or the store: same input, same
// answer. It looks only at the canonical request, which is also what is sent.
//
// The rule that must hold: what is not allowed by a line of comfy.Table is for
// administrators.
package policy

import (
	"net/http"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
)

// Decision is the answer to a request.
type Decision uint8

const (
	LogIn  Decision = iota // a stranger: 401, or the login page. The zero value refuses.
	Refuse                 // somebody known, who may not: 403
	Allow
)

func (d Decision) String() string {
	return [...]string{"log in first", "refuse", "allow"}[d]
}

// Decide says whether who may make the request.
func Decide(who account.Principal, req *comfy.Request) Decision {
	if req.Route.Answer == comfy.Closed {
		return refusal(who)
	}
	if May(who, req.Least()) && inScope(who.Scope, req) {
		return Allow
	}
	return refusal(who)
}

// inScope tells whether a token's scope reaches the request: read looks and
// watches; run also queues, stops and uploads, as guests do, and ends jobs. No
// scope reaches what only administrators may, and of our own pages each says
// itself what a program may see.
func inScope(scope account.Scope, req *comfy.Request) bool {
	switch {
	case scope == account.ScopeAll, req.Least() == comfy.Public:
		return true
	case req.Least() == comfy.Admins:
		return false
	case req.Method == http.MethodGet, req.Method == http.MethodHead:
		return true
	}
	return scope == account.ScopeRun && (req.Least() == comfy.Guests || req.Route.Run)
}

// May tells whether who has the access that something asks for.
func May(who account.Principal, access comfy.Access) bool {
	return who.Role >= least(access)
}

func refusal(who account.Principal) Decision {
	if who.Role == account.Anonymous {
		return LogIn
	}
	return Refuse
}

// least gives the role that an access level asks for.
func least(a comfy.Access) account.Role {
	switch a {
	case comfy.Public:
		return account.Anonymous
	case comfy.Guests:
		return account.Guest
	case comfy.Users:
		return account.User
	default:
		return account.Admin
	}
}
