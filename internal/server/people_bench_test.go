package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/login"
)

// BenchmarkPagesOfManyPeople asks for each page of a gate with 1,000 accounts,
// 10,000 sessions and tokens, and a million events, and logs somebody in.
//
//	go test ./internal/server -run '^$' -bench PagesOfMany
func BenchmarkPagesOfManyPeople(b *testing.B) {
	var gate http.Handler
	h := newHouse(b, func(o *Options) { gate = New(*o) })
	cookie := h.setUp()
	logIn := func(among, name string) {
		b.Run("log in among "+among, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := h.login.LogIn(b.Context(), name, goodPassword, login.Client{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	h.person("Bo", account.User)
	logIn("two", "Bo")
	h.crowd(b, 1_000, 10_000, 1_000_000)
	logIn("a thousand", "person-000500")
	logIn("a thousand, who was there before", "Bo")
	for _, path := range []string{"account", "admin", "admin/people", "admin/people?after=person-000500", "admin/links", "admin/sessions", "admin/tokens", "admin/log",
		"admin/log?kind=failure", "admin/log?who=person-000500", "admin/log?before=500000&kind=log-in", "api/events?limit=10000&format=csv", "api/people?limit=200", "api/sessions?all=1&limit=200"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				r := httptest.NewRequest("GET", "/", http.NoBody)
				r.RequestURI, r.Host = "/_latch/"+path, "127.0.0.1"
				r.Header.Set("Cookie", cookie)
				w := httptest.NewRecorder()
				gate.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatalf("%s: %d %s", path, w.Code, w.Body)
				}
			}
		})
	}
}

// crowd fills the store.
func (h *house) crowd(b *testing.B, people, sessions, events int) {
	b.Helper()
	ctx, now := b.Context(), time.Now()
	line := login.Hash(goodPassword)
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	for i := range people {
		name := fmt.Sprintf("person-%06d", i)
		check(h.db.PutPerson(ctx, account.Person{ID: name, Name: name, Role: account.User, Password: line, Epoch: "e", CreatedAt: now}))
	}
	for i := range sessions {
		who := fmt.Sprintf("person-%06d", i%people)
		at := now.Add(-time.Duration(i) * time.Second)
		check(h.db.PutSession(ctx, account.Session{Hash: fmt.Sprintf("%064d", i), UserID: who, Role: account.User, Name: who, Epoch: "person:e", CreatedAt: at, SeenAt: at, Address: "192.0.2.1", Agent: "test"}))
		check(h.db.PutToken(ctx, account.Token{ID: fmt.Sprint(i), Hash: fmt.Sprint("h", i), Name: fmt.Sprint("t", i), Kind: "api", UserID: who, Role: account.User, CreatedAt: at}))
	}
	kinds := []audit.Kind{audit.LogIn, audit.LogOut, audit.Refusal, audit.Failure}
	batch := make([]audit.Event, 0, 20_000)
	for i := range events {
		batch = append(batch, audit.Event{Time: now, Kind: kinds[i%len(kinds)], Principal: fmt.Sprintf("user:person-%06d", i%people), Name: "somebody", Address: "192.0.2.1", Detail: "something"})
		if len(batch) == cap(batch) || i == events-1 {
			check(h.db.AppendEvents(ctx, batch))
			batch = batch[:0]
		}
	}
}
