package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
	"comfylatch/internal/isolate"
	"comfylatch/internal/policy"
)

// Bytes of a prompt, which is held in memory to be checked. Workflows that
// carry pictures in them are several MB.
const (
	maxPrompt      = 64 << 20
	maxGuestPrompt = 8 << 20
)

// prompt reads a prompt once, checks it, and sends on what was checked. The
// type of the body is not asked for: urllib sends JSON as a form.
func (s *Server) prompt(w http.ResponseWriter, r *http.Request, x *exchange) {
	limit := int64(maxPrompt)
	if x.who.Role == account.Guest {
		limit = maxGuestPrompt
	}
	if r.Header.Get("Content-Encoding") != "" {
		s.refusePrompt(w, r, x, http.StatusUnsupportedMediaType, &comfy.PromptError{Type: "unsupported_encoding", Message: "The prompt is compressed", Details: "send it as plain JSON"})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, patient(w, r), limit))
	if err != nil {
		s.refusePrompt(w, r, x, unreadable(err), &comfy.PromptError{Type: "prompt_too_large", Message: "The prompt is too large, or did not arrive", Details: fmt.Sprintf("at most %d MB, and something of it each minute", limit>>20)})
		return
	}
	p, err := comfy.ParsePrompt(body)
	if err == nil {
		err = s.checkPrompt(r.Context(), p, x.who)
	}
	ran := func(accepted bool) {}
	if err == nil && s.Pictures != nil {
		ran, err = s.Pictures.Take(p, x.who)
	}
	var bad *comfy.PromptError
	if errors.As(err, &bad) {
		status := http.StatusBadRequest
		if bad.Type == "forbidden" {
			status = http.StatusForbidden
		}
		s.refusePrompt(w, r, x, status, bad)
		return
	}
	if err := s.takeRun(r.Context(), x.who); err != nil {
		ran(false)
		s.refusePrompt(w, r, x, http.StatusForbidden, err)
		return
	}
	out, err := p.Bytes()
	if err != nil {
		panic(err) // what was read from JSON can be written as JSON
	}
	release := s.holdEvents(p.ClientIDs(), x.who)
	defer release()
	c := &capture{header: make(http.Header)}
	s.comfyUI(c, withBody(r, out), x.req, x)
	ran(c.status == http.StatusOK)
	var answer struct {
		PromptID string `json:"prompt_id"`
	}
	if c.status == http.StatusOK && json.Unmarshal(c.body.Bytes(), &answer) == nil {
		s.ledger.Note(answer.PromptID, x.who.ID())
	} else if x.who.Link != "" {
		s.Runs.GiveRun(r.Context(), x.who.Link)
	}
	c.send(w, r, nil)
	if http.NewResponseController(w).Flush() == nil {
		time.Sleep(answerFirst)
	}
}

// answerFirst is what the answer to a prompt gets before the prompt's events:
// the two come over different connections.
const answerFirst = 3 * time.Millisecond

// holdEvents keeps the events of a prompt back until it is answered.
func (s *Server) holdEvents(clientIDs []string, who account.Principal) (release func()) {
	if s.HoldEvents == nil || len(clientIDs) == 0 {
		return func() {}
	}
	return s.HoldEvents(clientIDs[0], who.ID())
}

// Pictures checks the private pictures that a prompt names: they must be who's
// own, and unlocked for this run. ran is told whether ComfyUI took the prompt.
type Pictures interface {
	Take(p *comfy.PromptBody, who account.Principal) (ran func(accepted bool), err error)
}

func (s *Server) refusePrompt(w http.ResponseWriter, r *http.Request, x *exchange, status int, e *comfy.PromptError) {
	x.refusal = e.Error()
	closeUnread(w, r)
	answerJSON(w, status, e)
}

func forbidden(details string) error {
	return &comfy.PromptError{Type: "forbidden", Message: "This is not allowed here", Details: details}
}

// checkPrompt refuses what a role may not do with a prompt, and takes out what
// it may not say.
func (s *Server) checkPrompt(ctx context.Context, p *comfy.PromptBody, who account.Principal) error {
	admin := who.Role >= account.Admin
	if err := p.CheckFiles(!admin); err != nil {
		return err
	}
	for _, id := range p.ClientIDs() {
		if !s.BindClient(id, who.ID()) {
			return forbidden("the client_id belongs to somebody else: its events are theirs")
		}
	}
	if admin {
		return nil
	}
	if err := s.checkNodes(ctx, p, who); err != nil {
		return err
	}
	p.DropFingerprints()
	p.Drop("number") // nobody jumps the queue but administrators
	p.Drop("front")
	if id := p.Text("prompt_id"); id != "" && s.ledger.Taken(id, who.ID()) {
		return forbidden("the prompt_id is somebody else's")
	}
	if who.Role == account.Guest {
		return guestPrompt(p, who)
	}
	return nil
}

// checkNodes refuses node classes that the role may not run. What ComfyUI
// cannot be asked about is refused.
func (s *Server) checkNodes(ctx context.Context, p *comfy.PromptBody, who account.Principal) error {
	for _, n := range p.Nodes() {
		module, known, err := s.NodeModule(ctx, n.Class)
		if err != nil {
			s.Log.Warn("a prompt was refused because its nodes could not be looked up", "err", err)
			return forbidden("ComfyUI's nodes could not be looked up; try again in a moment")
		}
		access := comfy.NodeAccess(n.Class, module, known)
		switch {
		case slices.Contains(s.DenyNodes, n.Class):
			access = comfy.Admins
		case known && access == comfy.Users && slices.Contains(s.GuestNodes, n.Class):
			access = comfy.Guests
		}
		if !policy.May(who, access) {
			return &comfy.PromptError{Type: "forbidden", Message: "This is not allowed here", NodeID: n.ID, Class: n.Class,
				Details: fmt.Sprintf("the node %s is not for %ss", cut(n.Class, 64), who.Role)}
		}
	}
	return nil
}

// guestPrompt keeps a guest's files in a folder of their own. What would be
// written elsewhere, because the name comes by a link or wrapped or as a
// number, is refused; ComfyUI makes text of all of these.
func guestPrompt(p *comfy.PromptBody, who account.Principal) error {
	p.Drop("prompt_id") // ComfyUI chooses one that is nobody's yet
	for _, n := range p.Nodes() {
		refuse := func(details string) error {
			return &comfy.PromptError{Type: "forbidden", Message: "This is not allowed here", NodeID: n.ID, Class: n.Class, Details: details}
		}
		for i, m := range n.Inputs {
			for _, text := range comfy.Texts(m.Value) {
				base, kind := comfy.CutAnnotation(text)
				if isolate.Foreign(who, base) || kind != "" && !isolate.MayRead(who, kind, base) {
					return refuse(m.Key + ": guests can load what they made, not what others made")
				}
			}
			if m.Key != "filename_prefix" {
				continue
			}
			text, ok := m.Value.(string)
			if !ok {
				return refuse("filename_prefix must be plain text")
			}
			n.Inputs[i].Value = isolate.Folder(who) + "/" + text
		}
	}
	return nil
}
