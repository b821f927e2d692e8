package login_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"comfylatch/internal/account"
	"comfylatch/internal/login"
)

func TestPasswordFilesThatAreAccepted(t *testing.T) {
	bcryptLine, argonLine := bcryptLine(t, password), login.NewHashLine(password)
	for _, c := range []struct{ name, text, owner string }{
		{"bcrypt, two lines", bcryptLine + "\nAda\n", "Ada"},
		{"bcrypt, one line", bcryptLine + "\n", ""},
		{"bcrypt, no line end", bcryptLine, ""},
		{"bcrypt of PHP", strings.Replace(bcryptLine, "$2b$", "$2y$", 1), ""},
		{"bcrypt of Go", strings.Replace(bcryptLine, "$2b$", "$2a$", 1), ""},
		{"argon2id, two lines", argonLine + "\nAda\n", "Ada"},
		{"no last line end", argonLine + "\nAda", "Ada"},
		{"CRLF", argonLine + "\r\nAda\r\n", "Ada"},
		{"byte order mark", "\ufeff" + argonLine + "\nAda\n", "Ada"},
		{"all of it", "\ufeff" + bcryptLine + "\r\n Zoë \r\n\r\n", "Zoë"},
		{"spaces around", "  " + argonLine + " \nAda Lovelace\n\n", "Ada Lovelace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, c.text)
			h := enter(t, dir)
			if got, want := h.Status(), (login.Status{SetUp: true, OwnerName: c.owner, NameNeeded: c.owner == ""}); got != want {
				t.Errorf("status %+v, want %+v", got, want)
			}
			_, p, err := h.LogIn(t.Context(), c.owner, password, there)
			if err != nil {
				t.Fatalf("log in: %v", err)
			}
			want := c.owner
			if want == "" {
				want = "owner"
			}
			if p.Name != want {
				t.Errorf("name %q, want %q", p.Name, want)
			}
			if _, _, err := h.LogIn(t.Context(), c.owner, password+"x", there); !errors.Is(err, account.ErrBadCredentials) {
				t.Errorf("a wrong password: %v", err)
			}
		})
	}
}

func TestPasswordFilesThatAreRefused(t *testing.T) {
	argonLine := login.NewHashLine(password)
	for name, text := range map[string]string{
		"empty":                 "",
		"only line ends":        "\n\n",
		"a plain password":      "correct horse\nAda\n",
		"the name first":        "Ada\n" + argonLine + "\n",
		"half a bcrypt line":    "$2b$12$abcdefghijklmnopqrstuv\n",
		"bcrypt, odd alphabet":  "$2b$04$" + strings.Repeat("!", 53) + "\n",
		"bcrypt, absurd cost":   "$2b$31$" + strings.Repeat("a", 53) + "\n",
		"argon2i":               strings.Replace(argonLine, "argon2id", "argon2i", 1),
		"argon2id, no hash":     "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$\n",
		"argon2id, absurd cost": strings.Replace(argonLine, "m=19456", "m=4194304", 1),
		"argon2id, no memory":   strings.Replace(argonLine, "m=19456", "m=0", 1),
		"argon2id, no passes":   strings.Replace(argonLine, "t=2", "t=0", 1),
		"argon2id, no threads":  strings.Replace(argonLine, "p=1", "p=0", 1),
		"argon2id, overflow":    strings.Replace(argonLine, "t=2", "t=4294967298", 1),
		"argon2id, version":     strings.Replace(argonLine, "v=19", "v=16", 1),
		"NUL":                   "\x00" + argonLine,
		"large":                 argonLine + "\n" + strings.Repeat("x", 1<<16),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, text)
			_, err := tryEnter(t, dir)
			if err == nil || !strings.Contains(err.Error(), "PASSWORD") || !strings.Contains(err.Error(), "delete it") {
				t.Errorf("error = %v, want one that names the file and says what to do", err)
			}
			if strings.Contains(err.Error(), "correct horse") {
				t.Error("the error shows what stands in the file")
			}
			if got, _ := os.ReadFile(filepath.Join(dir, "PASSWORD")); string(got) != text {
				t.Error("the file was changed")
			}
		})
	}
}

func TestAOneLineFileTakesAnyNameAndKeepsIt(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, bcryptLine(t, password)+"\n")
	h := enter(t, dir)
	_, _, err := h.LogIn(t.Context(), "Grace\x1b[31m", password, there)
	wantInputError(t, "a name that cannot be shown", err, "username")
	_, p, err := h.LogIn(t.Context(), "Grace", password, there)
	if err != nil || p.Name != "Grace" {
		t.Fatalf("%+v, %v", p, err)
	}
	if got := h.Status(); got.OwnerName != "Grace" || got.NameNeeded {
		t.Errorf("status %+v", got)
	}
	text, _ := os.ReadFile(h.path())
	if !strings.HasPrefix(string(text), "$argon2id$") || !strings.HasSuffix(string(text), "\nGrace\n") {
		t.Errorf("PASSWORD is %q", text)
	}
	_, _, err = h.LogIn(t.Context(), "Eve", password, there)
	wantErr(t, "another name then", err, account.ErrBadCredentials)
}

func TestTheOldPasswordFileIsMoved(t *testing.T) {
	line := bcryptLine(t, password)
	t.Run("where there is none", func(t *testing.T) {
		comfy := t.TempDir()
		put(t, comfy, line+"\nAda\n")
		dir := filepath.Join(comfy, "login")
		h := enter(t, dir, func(o *login.Options) { o.ComfyDir = comfy })
		if _, _, err := h.LogIn(t.Context(), "Ada", password, there); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(comfy, "PASSWORD")); err == nil {
			t.Error("the old file is still there")
		}
	})
	t.Run("not over another", func(t *testing.T) {
		comfy := t.TempDir()
		put(t, comfy, bcryptLine(t, "old")+"\nEve\n")
		dir := filepath.Join(comfy, "login")
		put(t, dir, line+"\nAda\n")
		h := enter(t, dir, func(o *login.Options) { o.ComfyDir = comfy })
		if got := h.Status().OwnerName; got != "Ada" {
			t.Errorf("the owner is %q", got)
		}
	})
	t.Run("a damaged one stops the start", func(t *testing.T) {
		comfy := t.TempDir()
		put(t, comfy, "not a hash\n")
		if _, err := tryEnter(t, filepath.Join(comfy, "login"), func(o *login.Options) { o.ComfyDir = comfy }); err == nil {
			t.Error("it was passed over, so anybody could set up")
		}
	})
}

func TestANewHashIsReadBack(t *testing.T) {
	line := login.NewHashLine(password)
	for typed, want := range map[string]bool{password: true, password + " ": false, "": false, strings.ToUpper(password): false} {
		if got, err := login.Matches(line, typed); got != want || err != nil {
			t.Errorf("%q: %v, %v, want %v", typed, got, err, want)
		}
	}
	if login.NewHashLine(password) == line {
		t.Error("the same salt twice")
	}
	// Argon2 reference implementation: argon2 somesalt -id -t 2 -m 16 -p 1 <<< password
	const known = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := login.Matches(known, "password"); !ok || err != nil {
		t.Errorf("a hash of the reference implementation does not match: %v", err)
	}
}

func TestSetUpCodesAreEasyToType(t *testing.T) {
	h := enter(t, t.TempDir())
	code := h.SetUpCode().Reveal()
	if len(code) != 14 || code[4] != '-' || code[9] != '-' {
		t.Errorf("the code has the form %q", strings.Map(func(r rune) rune {
			if r == '-' {
				return r
			}
			return 'x'
		}, code))
	}
	for _, typed := range []string{strings.ToLower(code), strings.ReplaceAll(code, "-", ""), strings.ReplaceAll(code, "-", " "), " " + code + "\r\n",
		strings.ReplaceAll(strings.ReplaceAll(code, "0", "o"), "1", "l")} {
		if login.NormalCode(typed) != login.NormalCode(code) {
			t.Errorf("%q is not taken for %q", typed, code)
		}
	}
	if again := enter(t, t.TempDir()).SetUpCode(); again.Equal(code) {
		t.Error("the same code twice")
	}
}

func FuzzPasswordFile(f *testing.F) {
	f.Add([]byte("$2b$12$abcdefghijklmnopqrstuuJ6y3m0dJ1XJcXnUeJ7bXxWqKxOq1d1u\nAda\n"))
	f.Add([]byte("\ufeff$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc\r\nZo\xc3\r\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		line, name, err := login.ParsePassword(text)
		if err != nil {
			return
		}
		again, err := login.Rewrite(text)
		if err != nil {
			t.Fatal(err)
		}
		line2, name2, err := login.ParsePassword(again)
		if err != nil || line2 != line || name2 != name {
			t.Errorf("%q is written as %q, which reads as %q, %q, %v", text, again, line2, name2, err)
		}
		if bytes.Count(again, []byte("\n")) > 2 {
			t.Errorf("%q is written as more than two lines: %q", text, again)
		}
	})
}

func FuzzHashLine(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$2b$12$abcdefghijklmnopqrstuuJ6y3m0dJ1XJcXnUeJ7bXxWqKxOq1d1u")
	f.Add("$argon2id$v=19$m=08,t=+1,p= 1$c29tZXNhbHQ$c29tZXNhbHRzb21lc2FsdA")
	f.Fuzz(func(t *testing.T, line string) {
		memory, passes, err := login.ParseHash(line)
		if err != nil {
			return
		}
		if memory > 1<<20 || passes > 64 {
			t.Errorf("%q would cost %d KiB and %d passes", line, memory, passes)
		}
		if memory <= 64 && passes <= 2 && strings.HasPrefix(line, "$argon2id$") {
			if _, err := login.Matches(line, "x"); err != nil { // and does not panic
				t.Error(err)
			}
		}
	})
}
