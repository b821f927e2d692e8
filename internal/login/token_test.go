package login_test

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/login"
	"comfylatch/internal/store"
)

const fixedKey = "kT+3/x==fixed key"

func withKey(key string) func(*login.Options) {
	return func(o *login.Options) { o.APIKey = account.NewSecret(key) }
}

// who gives who comes with a credential.
func (h *house) who(t *testing.T, what, value string, c login.Client) account.Principal {
	t.Helper()
	p, err := h.Token(t.Context(), value, c)
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	return p
}

func (h *house) wantBad(t *testing.T, what, value string) {
	t.Helper()
	p, err := h.Token(t.Context(), value, there)
	if !errors.Is(err, account.ErrBadCredentials) || p.Role != account.Anonymous {
		t.Errorf("%s: %v, %v; want %v", what, p, err, account.ErrBadCredentials)
	}
}

func TestEveryCredential(t *testing.T) {
	h, _ := setUp(t, withKey(fixedKey))
	program, made, err := h.CreateToken(t.Context(), login.NewToken{Name: "script", Role: account.User})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		value string
		want  account.Principal
	}{
		"the fixed key":     {fixedKey, account.Principal{Role: account.Owner, Name: "API key", Method: account.ByKey}},
		"the console token": {h.ConsoleToken().Reveal(), account.Principal{Role: account.Owner, UserID: account.OwnerID, Name: "console token", Method: account.ByToken, Ref: "token:" + h.ConsoleToken().Hash()}},
		"a named token":     {program.Reveal(), account.Principal{Role: account.User, UserID: account.OwnerID, Name: "script", Method: account.ByToken, Ref: "token:" + made.Hash}},
	} {
		if got := h.who(t, name, c.value, there); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		h.wantBad(t, name+", cut", c.value[:len(c.value)-1])
		h.wantBad(t, name+", longer", c.value+"x")
		h.wantBad(t, name+", other case", strings.ToUpper(c.value))
	}
	h.wantBad(t, "something huge", "cl_"+strings.Repeat("x", 1<<20))
}

func TestComfyUILoginsOwnToken(t *testing.T) {
	dir, line := t.TempDir(), bcryptLine(t, password)
	put(t, dir, line+"\nAda\n")
	h := enter(t, dir)
	for range 2 {
		if p := h.who(t, "the bcrypt line", line, there); p.Role != account.Owner {
			t.Errorf("role %v", p.Role)
		}
	}
	if n := strings.Count(h.logged.String(), "ComfyUI-Login's token"); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
	if strings.Contains(h.logged.String(), line) {
		t.Error("the token stands in the log")
	}
	ended, _ := h.sessions.Watch(h.who(t, "the bcrypt line", line, there))
	if _, _, err := h.LogIn(t.Context(), "Ada", password, there); err != nil {
		t.Fatal(err)
	}
	h.wantBad(t, "after the first log-in", line)
	<-ended
	// Nor does our own hash ever become a token.
	argon := enter(t, t.TempDir())
	put(t, argon.dir, login.NewHashLine(password)+"\nAda\n")
	time.Sleep(60 * time.Millisecond)
	_, err := argon.Token(t.Context(), login.NewHashLine(password), there)
	wantErr(t, "an argon2id line", err, account.ErrBadCredentials)
}

func TestWrongKeysAreThrottledByAddress(t *testing.T) {
	h, _ := setUp(t, withKey(fixedKey))
	random := h.ConsoleToken().Reveal()
	for n := range 20 {
		if _, err := h.Token(t.Context(), "wrong", there); !errors.Is(err, account.ErrBadCredentials) {
			t.Fatalf("wrong key %d: %v", n, err)
		}
	}
	var slow *account.ThrottledError
	if _, err := h.Token(t.Context(), "wrong", there); !errors.As(err, &slow) || slow.Seconds() > 60 {
		t.Errorf("one more: %v, want to wait a minute at most", err)
	}
	if _, err := h.Token(t.Context(), fixedKey, there); !errors.As(err, &slow) {
		t.Errorf("the right key, perhaps guessed: %v", err)
	}
	h.who(t, "what cannot be guessed", random, there)
	h.who(t, "the right key from elsewhere", fixedKey, from(1))
	for range 30 {
		h.Token(t.Context(), "wrong", here)
	}
	h.who(t, "the right key on the gate's own machine", fixedKey, here)
}

func TestTokensAreMadeListedAndRevoked(t *testing.T) {
	h, _ := setUp(t)
	value, made, err := h.CreateToken(t.Context(), login.NewToken{Name: "script", Role: account.Admin, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(value.Reveal(), "cl_") || made.Hash != value.Hash() || made.ID == "" {
		t.Errorf("made %+v", made)
	}
	for _, c := range []struct {
		what, field string
		n           login.NewToken
	}{
		{"a taken name", "name", login.NewToken{Name: "script", Role: account.Admin}},
		{"no name", "name", login.NewToken{Role: account.Admin}},
		{"an odd name", "name", login.NewToken{Name: "a\u202eb", Role: account.Admin}},
		{"expired at birth", "expires", login.NewToken{Name: "late", Role: account.Admin, Expires: time.Now()}},
	} {
		_, _, err := h.CreateToken(t.Context(), c.n)
		wantInputError(t, c.what, err, c.field)
	}
	if _, _, err := h.CreateToken(t.Context(), login.NewToken{Name: "nobody"}); err == nil {
		t.Error("a token without a role was made")
	}
	list, err := h.ListTokens(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "script" {
		t.Fatalf("listed %+v, %v", list, err)
	}
	ended, _ := h.sessions.Watch(h.who(t, "the token", value.Reveal(), there))
	wantErr(t, "an unknown name", h.RevokeToken(t.Context(), "other"), account.ErrNotFound)
	if err := h.RevokeToken(t.Context(), "script"); err != nil {
		t.Fatal(err)
	}
	<-ended
	h.wantBad(t, "revoked", value.Reveal())
	wantErr(t, "twice", h.RevokeToken(t.Context(), "script"), account.ErrNotFound)
	if _, again, err := h.CreateToken(t.Context(), login.NewToken{Name: "script", Role: account.Admin}); err != nil {
		t.Errorf("the name is not free: %v", err)
	} else if err := h.RevokeToken(t.Context(), again.ID); err != nil {
		t.Errorf("by ID: %v", err)
	}
}

func TestAnotherProcessMakesAndRevokesTokens(t *testing.T) {
	h, _ := setUp(t)
	h.run(t)
	db, err := store.Open(t.Context(), filepath.Join(h.dir, store.FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	command := login.NewTokens(db)
	value, made, err := command.CreateToken(t.Context(), login.NewToken{Name: "script", Role: account.Admin})
	if err != nil {
		t.Fatal(err)
	}
	p := h.who(t, "made by a sub-command", value.Reveal(), there)
	ended, _ := h.sessions.Watch(p)
	other, _ := h.sessions.Watch(h.who(t, "the console token", h.ConsoleToken().Reveal(), there))
	if err := command.RevokeToken(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	<-ended
	h.wantBad(t, "revoked by a sub-command", value.Reveal())
	select {
	case <-other:
		t.Error("the console token's socket was closed too")
	default:
	}
}

func TestATokenExpires(t *testing.T) {
	h, _ := setUp(t)
	h.run(t)
	value, _, err := h.CreateToken(t.Context(), login.NewToken{Name: "short", Role: account.Admin, Expires: time.Now().Add(200 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	ended, _ := h.sessions.Watch(h.who(t, "before", value.Reveal(), there))
	<-ended // its open socket too
	h.wantBad(t, "after", value.Reveal())
}

func TestUseOfATokenIsKept(t *testing.T) {
	h, _ := setUp(t)
	value, made, err := h.CreateToken(t.Context(), login.NewToken{Name: "script", Role: account.Admin})
	if err != nil {
		t.Fatal(err)
	}
	h.who(t, "the token", value.Reveal(), login.Client{Address: netip.MustParseAddr("::ffff:192.0.2.9")})
	if err := login.Flush(t.Context(), h.Service); err != nil {
		t.Fatal(err)
	}
	got, err := h.db.TokenByHash(t.Context(), made.Hash)
	if err != nil || got.UsedAt.IsZero() || got.UsedFrom != "192.0.2.9" {
		t.Errorf("used at %v from %q, %v", got.UsedAt, got.UsedFrom, err)
	}
}

func TestBrowserTokens(t *testing.T) {
	h, _ := setUp(t, withKey(fixedKey))
	program, made, err := h.CreateToken(t.Context(), login.NewToken{Name: "script", Role: account.User, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	obtain := func(what, credential string) (string, account.Token) {
		t.Helper()
		p := h.who(t, what, credential, there)
		value, token, err := h.BrowserToken(t.Context(), p, there)
		if err != nil {
			t.Fatal(err)
		}
		got := h.who(t, "the browser token of "+what, value.Reveal(), there)
		if got.Role != p.Role || got.UserID != p.UserID || got.Name != p.Name || got.Method != account.ByToken {
			t.Errorf("%s: %+v, want the rights of %+v", what, got, p)
		}
		asCookie, err := h.Find(t.Context(), value.Reveal())
		if err != nil || asCookie.Method != account.ByCookie || asCookie.Role != p.Role || asCookie.Ref != got.Ref {
			t.Errorf("%s, as a cookie: %+v, %v", what, asCookie, err)
		}
		return value.Reveal(), token
	}
	byKey, _ := obtain("the fixed key", fixedKey)
	byConsole, _ := obtain("the console token", h.ConsoleToken().Reveal())
	byProgram, token := obtain("a named token", program.Reveal())
	if !token.ExpiresAt.Equal(made.ExpiresAt) {
		t.Errorf("it lives until %v, want no longer than the token: %v", token.ExpiresAt, made.ExpiresAt)
	}
	byBrowser, _ := obtain("a browser token", byProgram)
	if _, err := h.sessions.Find(t.Context(), byKey); !errors.Is(err, account.ErrNotFound) {
		t.Errorf("the sessions know it: %v", err)
	}
	if _, _, err := h.BrowserToken(t.Context(), account.Principal{Role: account.Guest}, there); err == nil {
		t.Error("a guest got one")
	}

	if err := h.RevokeToken(t.Context(), "script"); err != nil {
		t.Fatal(err)
	}
	h.wantBad(t, "of a revoked token", byProgram)
	h.wantBad(t, "of one of its", byBrowser)
	h.wantOut(t, "its cookie", byProgram)

	p := h.who(t, "the fixed key's", byKey, there)
	ended, _ := h.sessions.Watch(p)
	if err := h.LogOut(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	<-ended
	h.wantBad(t, "logged out", byKey)
	h.wantOut(t, "its cookie", byKey)
	h.who(t, "the key itself", fixedKey, there)
	h.who(t, "the console token's", byConsole, there)
}

func TestBrowserTokensDieWithTheFixedKey(t *testing.T) {
	for name, change := range map[string]func(*login.Options){"changed": withKey("another key"), "gone": func(*login.Options) {}} {
		t.Run(name, func(t *testing.T) {
			h, _ := setUp(t, withKey(fixedKey))
			value, _, err := h.BrowserToken(t.Context(), h.who(t, "the key", fixedKey, there), there)
			if err != nil {
				t.Fatal(err)
			}
			enter(t, h.dir, withKey(fixedKey)).who(t, "after a restart", value.Reveal(), there)
			enter(t, h.dir, change).wantBad(t, "the key "+name, value.Reveal())
			enter(t, h.dir, withKey(fixedKey)).wantBad(t, "the key is back", value.Reveal())
		})
	}
}

func TestNoSecretIsKeptOrLogged(t *testing.T) {
	h, cookie := setUp(t, withKey(fixedKey))
	program, _, err := h.CreateToken(t.Context(), login.NewToken{Name: "script", Role: account.User})
	if err != nil {
		t.Fatal(err)
	}
	browser, _, err := h.BrowserToken(t.Context(), h.who(t, "the key", fixedKey, there), there)
	if err != nil {
		t.Fatal(err)
	}
	h.LogIn(t.Context(), "Ada", "a wrong password", there)
	h.Token(t.Context(), "a wrong key", there)
	h.kinds(t)
	secrets := map[string]string{
		"password": password, "wrong password": "a wrong password", "wrong key": "a wrong key", "key": fixedKey, "cookie": cookie,
		"console token": h.ConsoleToken().Reveal(), "token": program.Reveal(), "browser token": browser.Reveal(),
	}
	kept := readAll(t, h.dir)
	for name, secret := range secrets {
		if strings.Contains(h.logged.String(), secret) {
			t.Errorf("the %s stands in the log", name)
		}
		if strings.Contains(kept, secret) {
			t.Errorf("the %s stands in the state folder", name)
		}
	}
}

func FuzzToken(f *testing.F) {
	for _, seed := range []string{"", "cl_", "clb_x", "$2b$12$", "\x00", "cl_" + strings.Repeat("A", 43)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		h := fuzzHouse(t)
		p, err := h.Token(t.Context(), value, here)
		if err == nil || p != (account.Principal{}) {
			t.Errorf("%q is %+v, %v", value, p, err)
		}
	})
}
