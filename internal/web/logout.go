package web

import (
	"errors"
	"net/http"

	"comfylatch/internal/account"
)

// serveLogout answers /logout: GET shows a button, POST ends the session on
// the server. So a picture with this address logs nobody out.
func (s *Site) serveLogout(w http.ResponseWriter, r *http.Request, v Visit) {
	if !s.only(w, r, http.MethodGet, http.MethodHead, http.MethodPost) {
		return
	}
	if r.Method != http.MethodPost {
		if v.Who.Role == account.Anonymous {
			redirect(w, http.StatusFound, "/login")
			return
		}
		s.page(w, http.StatusOK, "logout", s.visitor(v))
		return
	}
	if err := sameSite(r, v.Host); err != nil {
		s.fail(w, r, err)
		return
	}
	if err := s.end(r, v); err != nil {
		s.fail(w, r, err)
		return
	}
	dropSession(w, v.Secure)
	if v.Secure { // browsers ignore it elsewhere; there the next page's script does it
		w.Header().Set("Clear-Site-Data", `"storage"`)
	}
	redirect(w, http.StatusSeeOther, "/login?logged_out=1")
}

// end ends the session or browser token that the visitor came with.
func (s *Site) end(r *http.Request, v Visit) error {
	if v.Who.Ref == "" {
		return nil
	}
	err := s.opt.Login.LogOut(r.Context(), v.Who)
	if errors.Is(err, account.ErrNotFound) {
		return nil // has ended already
	}
	return err
}

// visitor is what pages say about who is looking at them.
type visitor struct {
	Name, Role string
	Guest      bool
}

func (s *Site) visitor(v Visit) visitor {
	name := v.Who.Name
	if name == "" {
		name = v.Who.Role.String()
	}
	return visitor{Name: name, Role: v.Who.Role.String(), Guest: v.Who.Role == account.Guest}
}
