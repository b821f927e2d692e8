package incognito

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSignerFollowsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.secret")
	synctest.Test(t, func(t *testing.T) {
		s := NewSigner(path)
		signed := func() string {
			time.Sleep(2 * time.Second)
			h := http.Header{}
			s.Sign(h)
			return h.Get(SecretHeader)
		}
		for _, c := range []struct{ text, want string }{
			{"", ""}, {testSecret + "\n", testSecret}, {"short", ""}, {strings.Repeat("x", 30) + "\r\nHost: y", ""}, {testSecret, testSecret},
		} {
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := signed(); got != c.want {
				t.Errorf("with %q in the file: %q, want %q", c.text, got, c.want)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if got := signed(); got != "" {
			t.Errorf("without a file: %q", got)
		}
	})
}
