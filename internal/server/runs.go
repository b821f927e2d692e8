package server

import (
	"context"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
)

// Runs counts what guests who came by a link may still queue; room people does.
type Runs interface {
	TakeRun(ctx context.Context, linkID string) error // account.ErrLinkDead: there is none left
	GiveRun(ctx context.Context, linkID string)
}

// takeRun counts one run of the guest link that let somebody in.
func (s *Server) takeRun(ctx context.Context, who account.Principal) *comfy.PromptError {
	if who.Link == "" {
		return nil
	}
	if s.Runs == nil || s.Runs.TakeRun(ctx, who.Link) != nil {
		return &comfy.PromptError{Type: "forbidden", Message: "This is not allowed here", Details: "the runs of this guest link are used up, or it has ended: ask for another link"}
	}
	return nil
}
