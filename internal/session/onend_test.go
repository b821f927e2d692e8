package session_test

import (
	"testing"
	"time"

	"comfylatch/internal/account"
)

func TestOnEndIsCalledOnceOrNever(t *testing.T) {
	m, _ := newManager(t)
	_, p := issue(t, m, owner)
	_, q := issue(t, m, owner)
	called := make(chan string, 10)
	watch := func(p account.Principal, name string) func() { return m.OnEnd(p, func() { called <- name }) }
	watch(p, "one")
	watch(p, "two")
	watch(p, "released")()
	watch(q, "another's")
	watch(account.Principal{Role: account.Owner, Method: account.ByKey}, "the key, which never ends")()
	for range 2 {
		if err := m.Revoke(t.Context(), p.Ref); err != nil {
			t.Fatal(err)
		}
	}
	watch(p, "late")
	got := map[string]int{}
	for range 3 {
		select {
		case name := <-called:
			got[name]++
		case <-time.After(5 * time.Second):
		}
	}
	if len(called) > 0 || len(got) != 3 || got["one"] != 1 || got["two"] != 1 || got["late"] != 1 {
		t.Errorf("called: %v, and %d more; want one, two and late, once each", got, len(called))
	}
}
