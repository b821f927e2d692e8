package login_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"comfylatch/internal/account"
	"comfylatch/internal/login"
)

// from is a stranger with an address of their own.
func from(n int) login.Client {
	return login.Client{Address: netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)})}
}

func TestAttacksOnTheLogin(t *testing.T) {
	t.Run("C12 session fixation", func(t *testing.T) {
		h, first := setUp(t)
		second, _, err := h.LogIn(t.Context(), "Ada", password, here)
		if err != nil || second.Equal(first) {
			t.Errorf("the same session after another log-in, %v", err)
		}
	})
	t.Run("D1 timing of user names", func(t *testing.T) {
		for kind, line := range map[string]string{"argon2id": login.NewHashLine(password), "bcrypt": bcryptLine(t, password)} {
			t.Run(kind, func(t *testing.T) {
				dir := t.TempDir()
				put(t, dir, line+"\nAda\n")
				h := enter(t, dir)
				for i, name := range []string{"Ada", "nobody", "ada'--", strings.Repeat("x", 1000)} {
					before := login.Hashed(h.Service)
					_, p, err := h.LogIn(t.Context(), name, "wrong", from(i))
					if err != account.ErrBadCredentials || p.Role != account.Anonymous {
						t.Errorf("%q: %v, %v; want exactly %v", name, p, err, account.ErrBadCredentials)
					}
					if got := login.Hashed(h.Service) - before; got != 1 {
						t.Errorf("%q: %d hashes, want 1 as for every name", name, got)
					}
				}
				_, _, err := h.LogIn(t.Context(), "nobody", password, from(9))
				wantErr(t, "the right password under a wrong name", err, account.ErrBadCredentials)
			})
		}
	})
	t.Run("D1 an unknown name is locked out as a known one", func(t *testing.T) {
		h, _ := setUp(t)
		for _, name := range []string{"Ada", "nobody"} {
			n := 0
			for ; n < 50; n++ {
				if _, _, err := h.LogIn(t.Context(), name, "wrong", from(100*len(name)+n)); errors.As(err, new(*account.ThrottledError)) {
					break
				}
			}
			if n != 5 {
				t.Errorf("%s: locked out after %d tries, want 5", name, n)
			}
		}
	})
	t.Run("D2 lockout aliases", func(t *testing.T) {
		h, _ := setUp(t)
		tries := 0
		for i, name := range []string{"Ada", "ADA", " ada", "", "ada ", "aDA", "Ada"} {
			if _, _, err := h.LogIn(t.Context(), name, "wrong", from(i)); errors.Is(err, account.ErrBadCredentials) {
				tries++
			}
		}
		if tries != 5 {
			t.Errorf("%d tries by other spellings, want 5", tries)
		}
		before := login.Hashed(h.Service)
		_, _, err := h.LogIn(t.Context(), "Ada", password, from(99))
		var slow *account.ThrottledError
		if !errors.As(err, &slow) || slow.Seconds() < 1 {
			t.Errorf("the right password while locked out: %v, want to be told the wait", err)
		}
		if login.Hashed(h.Service) != before {
			t.Error("a refused attempt cost a hash")
		}
		if _, _, err := h.LogIn(t.Context(), "Ada", password, here); err != nil {
			t.Errorf("the owner at the machine itself: %v", err)
		}
	})
	t.Run("D4 an attempt that cannot be tried is not counted", func(t *testing.T) {
		h, _ := setUp(t)
		for range 50 {
			h.LogIn(t.Context(), "Ada", "", there)
			h.LogIn(t.Context(), "Ada", strings.Repeat("x", 2000), there)
		}
		if _, _, err := h.LogIn(t.Context(), "Ada", password, there); err != nil {
			t.Error(err)
		}
	})
	t.Run("B12 a counter outlives a restart", func(t *testing.T) {
		h, _ := setUp(t)
		for n := range 6 {
			h.LogIn(t.Context(), "Ada", "wrong", from(n))
		}
		_, _, err := enter(t, h.dir).LogIn(t.Context(), "Ada", password, from(9))
		if !errors.As(err, new(*account.ThrottledError)) {
			t.Errorf("after a restart: %v", err)
		}
	})
	t.Run("G4 hash flood", func(t *testing.T) { hashFlood(t) })
	t.Run("G9 fail closed", func(t *testing.T) {
		h, cookie := setUp(t, func(o *login.Options) { o.Guest = true; o.APIKey = account.NewSecret("a fixed key") })
		h.db.Close()
		if _, _, err := h.LogIn(t.Context(), "Ada", password, here); err == nil || errors.Is(err, account.ErrBadCredentials) {
			t.Errorf("LogIn: %v, want the store's error", err)
		}
		if p, err := h.Find(t.Context(), cookie); err == nil || p.Role != account.Anonymous {
			t.Errorf("Find: %v, %v", p, err)
		}
		if _, p, err := h.Guest(t.Context(), here); err == nil || p.Role != account.Anonymous {
			t.Errorf("Guest: %v, %v", p, err)
		}
		unknown := account.RandomSecret("cl_").Reveal()
		if p, err := h.Token(t.Context(), unknown, there); err == nil || errors.Is(err, account.ErrBadCredentials) || p.Role != account.Anonymous {
			t.Errorf("Token: %v, %v, want the store's error", p, err)
		}
		os.Remove(h.path())
		if _, _, err := h.SetUp(t.Context(), "Eve", "x", "", here); err == nil {
			t.Error("set up although the store is gone")
		}
	})
	t.Run("T31 empty credential", func(t *testing.T) {
		for _, key := range []account.Secret{{}, account.NewSecret("a fixed key")} {
			h := enter(t, t.TempDir(), func(o *login.Options) { o.APIKey = key })
			for _, when := range []string{"before the set-up", "after the set-up"} {
				for _, value := range []string{"", " ", "\x00", "cl_", "clb_", "[secret]"} {
					p, err := h.Token(t.Context(), value, there)
					if !errors.Is(err, account.ErrBadCredentials) || p.Role != account.Anonymous {
						t.Errorf("%s, %q: %v, %v", when, value, p, err)
					}
				}
				h.SetUp(t.Context(), "Ada", password, "", here)
			}
		}
	})
	t.Run("T32 first-login race", func(t *testing.T) { firstLoginRace(t) })
	t.Run("T32 the code is for guessing slowly", func(t *testing.T) {
		h := enter(t, t.TempDir())
		n := 0
		for ; n < 100; n++ {
			if _, _, err := h.SetUp(t.Context(), "Eve", "x", fmt.Sprint("AAAA-AAAA-", n), there); errors.As(err, new(*account.ThrottledError)) {
				break
			}
		}
		if n != 20 {
			t.Errorf("throttled after %d wrong codes, want 20", n)
		}
		if _, _, err := h.SetUp(t.Context(), "Ada", password, h.SetUpCode().Reveal(), from(1)); err != nil {
			t.Errorf("the owner, from elsewhere: %v", err)
		}
	})
	t.Run("T36 odd passwords", func(t *testing.T) { oddPasswords(t) })
}

func hashFlood(t *testing.T) {
	h, cookie := setUp(t)
	runtime.GC()
	var before, during runtime.MemStats
	runtime.ReadMemStats(&before)
	var most atomic.Uint64
	var wg sync.WaitGroup
	var bad, slow atomic.Int64
	for n := range 300 {
		wg.Go(func() {
			_, _, err := h.LogIn(t.Context(), fmt.Sprint("name ", n), "wrong", from(n))
			switch {
			case errors.Is(err, account.ErrBadCredentials):
				bad.Add(1)
			case errors.As(err, new(*account.ThrottledError)):
				slow.Add(1)
			default:
				t.Errorf("%v", err)
			}
			if n%10 == 0 {
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				most.Store(max(most.Load(), now.HeapInuse))
			}
		})
	}
	wg.Wait()
	runtime.ReadMemStats(&during)
	if bad.Load() == 0 || bad.Load()+slow.Load() != 300 {
		t.Errorf("%d wrong, %d told to wait, of 300", bad.Load(), slow.Load())
	}
	if hashed := login.Hashed(h.Service); hashed > 300 {
		t.Errorf("%d hashes for 300 attempts", hashed)
	}
	// Pages that the heap ever took from the system: what RSS can grow by.
	if grown := int64(during.Sys-before.Sys) >> 20; grown > 64 {
		t.Errorf("%d MiB more were taken from the system, want at most 64", grown)
	}
	t.Logf("%d hashed, %d refused; heap %d → at most %d MiB, taken from the system %d → %d MiB", bad.Load(), slow.Load(),
		before.HeapInuse>>20, most.Load()>>20, before.Sys>>20, during.Sys>>20)
	h.wantIn(t, "who was in", cookie)
	if _, _, err := h.LogIn(t.Context(), "Ada", password, here); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}

func firstLoginRace(t *testing.T) {
	h := enter(t, t.TempDir())
	code := h.SetUpCode().Reveal()
	for _, typed := range []string{"", "-", strings.Repeat("0", 12), code[:13], code + "0", strings.Repeat("A", 1<<16)} {
		_, _, err := h.SetUp(t.Context(), "Eve", "x", typed, there)
		wantErr(t, "from elsewhere with the code "+typed[:min(len(typed), 16)], err, account.ErrSetUpCode)
	}
	if _, err := os.Stat(h.path()); err == nil {
		t.Fatal("something was stored")
	}

	var wg sync.WaitGroup
	var won atomic.Int64
	names := make(chan string, 16)
	for n := range 16 {
		wg.Go(func() {
			name := fmt.Sprint("owner ", n)
			_, p, err := h.SetUp(context.WithoutCancel(t.Context()), name, password, strings.ToLower(code), from(n))
			switch {
			case err == nil && p.Role == account.Owner:
				won.Add(1)
				names <- name
			case !errors.Is(err, account.ErrAlreadySetUp):
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d of 16 set it up, want 1", won.Load())
	}
	if got, want := h.Status().OwnerName, <-names; got != want {
		t.Errorf("the owner is %q, want who won: %q", got, want)
	}
	if !h.SetUpCode().Empty() {
		t.Error("there still is a code")
	}
	_, _, err := h.SetUp(t.Context(), "Eve", "x", code, there)
	wantErr(t, "the used code", err, account.ErrAlreadySetUp)
}

func oddPasswords(t *testing.T) {
	for _, n := range []int{1, 71, 72, 73, 200, 1000} {
		long := strings.Repeat("p", n-1) + "!"
		t.Run(fmt.Sprintf("argon2id, %d bytes", n), func(t *testing.T) {
			h := enter(t, t.TempDir())
			if _, _, err := h.SetUp(t.Context(), "Ada", long, "", here); err != nil {
				t.Fatal(err)
			}
			if _, _, err := h.LogIn(t.Context(), "Ada", long, there); err != nil {
				t.Errorf("the right one: %v", err)
			}
			_, _, err := h.LogIn(t.Context(), "Ada", long[:n-1]+"?", there)
			wantErr(t, "another last byte", err, account.ErrBadCredentials)
			_, _, err = h.LogIn(t.Context(), "Ada", long[:n-1]+"!!"[:min(2, 1001-n)], there)
			if n < 1000 {
				wantErr(t, "one byte more", err, account.ErrBadCredentials)
			}
		})
		t.Run(fmt.Sprintf("imported bcrypt, %d bytes", n), func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, bcryptLine(t, long)+"\nAda\n")
			h := enter(t, dir)
			_, _, err := h.LogIn(t.Context(), "Ada", "x"+long[1:], there)
			wantErr(t, "another", err, account.ErrBadCredentials)
			if _, _, err := h.LogIn(t.Context(), "Ada", long, there); err != nil {
				t.Errorf("the right one: %v", err)
			}
			if text, _ := os.ReadFile(h.path()); !strings.HasPrefix(string(text), "$argon2id$") {
				t.Fatalf("PASSWORD is %q", text)
			}
			if _, _, err := h.LogIn(t.Context(), "Ada", long, there); err != nil {
				t.Errorf("the right one, hashed anew: %v", err)
			}
			if n > 72 {
				_, _, err := h.LogIn(t.Context(), "Ada", long[:72], there)
				wantErr(t, "cut, hashed anew", err, account.ErrBadCredentials)
			}
		})
	}
}
