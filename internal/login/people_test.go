package login_test

import (
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/login"
)

// D1: whoever tries cannot tell a name that is there from one that is not.
func TestTheWorkIsTheSameForEveryName(t *testing.T) {
	h, _ := setUp(t)
	for id, disabled := range map[string]time.Time{"Bo": {}, "Cy": time.Now()} {
		p := account.Person{ID: id, Name: id, Role: account.User, Password: login.NewHashLine(password), Epoch: "e", CreatedAt: time.Now(), DisabledAt: disabled}
		if err := h.db.PutPerson(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	invited := account.Person{ID: "no password yet", Name: "Di", Role: account.User, Epoch: "e", CreatedAt: time.Now()}
	if err := h.db.PutPerson(t.Context(), invited); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Ada", "BO", "Cy", "Di", "nobody", "", "аda"} {
		before := login.Hashed(h.Service)
		_, _, err := h.LogIn(t.Context(), name, "wrong password", there)
		if n := login.Hashed(h.Service) - before; n != 1 {
			t.Errorf("%q: %d hashes, want 1", name, n)
		}
		if err != account.ErrBadCredentials {
			t.Errorf("%q: %v, want %v", name, err, account.ErrBadCredentials)
		}
	}
	if _, _, err := h.LogIn(t.Context(), "Cy", password, there); err != account.ErrDisabled {
		t.Errorf("disabled, with the right password: %v, want %v", err, account.ErrDisabled)
	}
	if _, who, err := h.LogIn(t.Context(), "bo", password, there); err != nil || who.UserID != "Bo" || who.Role != account.User {
		t.Errorf("Bo came in as %+v, %v", who, err)
	}
	if st := h.Status(); !st.People {
		t.Error("the login page does not know of people")
	}
}
