package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
)

// runPeople is the part of the suite about accounts and links.
func runPeople(t *testing.T, one func(func(*testing.T, Engine)) func(*testing.T)) {
	t.Run("a person comes back as they were kept", one(personRoundTrip))
	t.Run("two names that look alike cannot be", one(personNames))
	t.Run("people are listed by name, in parts", one(personPages))
	t.Run("a change ends what hung on the state before", one(personChanges))
	t.Run("the last administrator stays", one(lastAdmin))
	t.Run("a session or token beside a change is not kept", one(besideAChange))
	t.Run("of many who use a link once, one gets it", one(linkOnce))
	t.Run("a guest link counts runs and ends with its sessions", one(guestLink))
	t.Run("links end by maker, person and time", one(linksEnd))
	t.Run("sessions and tokens are listed in parts, to their user", one(listed))
	t.Run("events are found by principal", one(eventsByPrincipal))
}

func aPerson(id string) account.Person {
	return account.Person{ID: id, Name: "Person " + id, Role: account.Admin, Password: "hash", Epoch: "e1", CreatedAt: now}
}

func somebody(t *testing.T, db Engine, id string) {
	t.Helper()
	must(t, db.PutPerson(t.Context(), aPerson(id)))
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func personRoundTrip(t *testing.T, db Engine) {
	want := aPerson("a")
	want.Name, want.SeenAt, want.DisabledAt = "Zoë 'x'; --", now.Add(time.Second), now.Add(time.Minute)
	must(t, db.PutPerson(t.Context(), want))
	got, err := db.Person(t.Context(), "a")
	must(t, err)
	byName, err := db.PersonByName(t.Context(), " ZOË  'X'; --")
	must(t, err)
	if got != want || byName != want {
		t.Errorf("got %+v and %+v, want %+v", got, byName, want)
	}
	_, err = db.Person(t.Context(), "b")
	wantNotFound(t, err)
	_, err = db.PersonByName(t.Context(), "nobody")
	wantNotFound(t, err)
	any, err := db.AnyPerson(t.Context())
	if must(t, err); !any {
		t.Error("nobody is there")
	}
}

func personNames(t *testing.T, db Engine) {
	p := aPerson("a")
	p.Name = "Alice"
	must(t, db.PutPerson(t.Context(), p))
	for _, name := range []string{"ALICE", "A1ice", "al ice"} {
		p := aPerson("b")
		p.Name = name
		wantErr(t, name, db.PutPerson(t.Context(), p), account.ErrTaken)
	}
	like, err := db.LooksLike(t.Context(), "A1ICE")
	if must(t, err); like.ID != "a" {
		t.Errorf("like %q", like.ID)
	}
}

func personPages(t *testing.T, db Engine) {
	for _, id := range []string{"c", "a", "d", "b"} {
		somebody(t, db, id)
	}
	var got string
	page := account.Page{Limit: 3}
	for range 3 {
		part, err := db.People(t.Context(), page)
		must(t, err)
		for _, p := range part {
			got += p.ID
			page.After = p.Name
		}
		got += "."
	}
	if got != "abc.d.." {
		t.Errorf("listed %q", got)
	}
}

func personChanges(t *testing.T, db Engine) {
	ctx := t.Context()
	fill := func(id string) {
		somebody(t, db, id)
		s := aSession("s-" + id)
		s.UserID, s.Role, s.Epoch = id, account.Admin, "person:e1"
		must(t, db.PutSession(ctx, s))
		admin, user := aToken("admin-"+id), aToken("user-"+id)
		admin.UserID, user.UserID, user.Role = id, id, account.User
		must(t, db.PutToken(ctx, admin))
		must(t, db.PutToken(ctx, user))
		must(t, db.PutLink(ctx, aLink("l-"+id, func(l *account.Link) { l.MadeBy = id })))
	}
	check := func(what string, ended account.Ended, err error, id string, tokens ...string) {
		t.Helper()
		wantHashes(t, what, ended.Sessions, err, "s-"+id)
		wantHashes(t, what, ended.Tokens, err, tokens...)
		if l, err := db.LinkByHash(ctx, "hash-l-"+id); err != nil || l.RevokedAt.IsZero() {
			t.Errorf("%s: the link lives, %v", what, err)
		}
	}
	for _, id := range []string{"a", "b", "c", "d"} {
		fill(id)
	}
	ended, err := db.SetRole(ctx, "a", account.User, "e2", false, now)
	check("demoting", ended, err, "a", "hash-admin-a")
	ended, err = db.SetDisabled(ctx, "b", now, "e2", false, now)
	check("disabling", ended, err, "b", "hash-admin-b", "hash-user-b")
	ended, err = db.RemovePerson(ctx, "c", false, now)
	check("removing", ended, err, "c", "hash-admin-c", "hash-user-c")
	_, err = db.SetPassword(ctx, "d", "e0", "new", "e2", now)
	wantNotFound(t, err) // changed by somebody else meanwhile
	ended, err = db.SetPassword(ctx, "d", "e1", "new", "e2", now)
	check("a new password", ended, err, "d", "hash-admin-d", "hash-user-d")
	for id, want := range map[string]account.Person{"a": {Role: account.User, Password: "hash"}, "b": {Role: account.Admin, Password: "hash", DisabledAt: now}, "d": {Role: account.Admin, Password: "new"}} {
		got, err := db.Person(ctx, id)
		must(t, err)
		if got.Role != want.Role || got.Password != want.Password || got.DisabledAt != want.DisabledAt || got.Epoch != "e2" {
			t.Errorf("%s is %+v, want %+v", id, got, want)
		}
	}
	_, err = db.Person(ctx, "c")
	wantNotFound(t, err)
	_, err = db.SetRole(ctx, "c", account.User, "e3", false, now)
	wantNotFound(t, err)
}

func lastAdmin(t *testing.T, db Engine) {
	ctx := t.Context()
	somebody(t, db, "a")
	somebody(t, db, "b")
	_, err := db.SetDisabled(ctx, "b", now, "e2", true, now)
	must(t, err)
	_, err = db.SetDisabled(ctx, "a", now, "e2", true, now)
	wantErr(t, "disabling the last", err, account.ErrLastAdmin)
	_, err = db.SetRole(ctx, "a", account.User, "e2", true, now)
	wantErr(t, "demoting the last", err, account.ErrLastAdmin)
	_, err = db.RemovePerson(ctx, "a", true, now)
	wantErr(t, "removing the last", err, account.ErrLastAdmin)
	if _, err = db.RemovePerson(ctx, "b", true, now); err != nil {
		t.Errorf("removing one who is disabled: %v", err)
	}
	if _, err = db.RemovePerson(ctx, "a", false, now); err != nil {
		t.Errorf("removing the last beside an owner: %v", err)
	}
}

func besideAChange(t *testing.T, db Engine) {
	ctx := t.Context()
	somebody(t, db, "a")
	s := aSession("s1")
	s.UserID, s.Role, s.Epoch = "a", account.Admin, "person:e1"
	token := aToken("t1")
	token.UserID = "a"
	_, err := db.SetRole(ctx, "a", account.User, "e2", false, now)
	must(t, err)
	wantErr(t, "session of the old epoch", db.PutSession(ctx, s), account.ErrBadCredentials)
	wantErr(t, "token above the role", db.PutToken(ctx, token), account.ErrTaken)
	s.Epoch, s.Role, token.Role = "person:e2", account.User, account.User
	_, err = db.SetDisabled(ctx, "a", now, "e2", false, now)
	must(t, err)
	wantErr(t, "session of one disabled", db.PutSession(ctx, s), account.ErrBadCredentials)
	wantErr(t, "token of one disabled", db.PutToken(ctx, token), account.ErrTaken)
	wantErr(t, "link of one disabled", db.PutLink(ctx, aLink("l1", func(l *account.Link) { l.MadeBy = "a" })), account.ErrNotAllowed)
	wantErr(t, "link for nobody", db.PutLink(ctx, aLink("l2", func(l *account.Link) { l.UserID = "nobody" })), account.ErrNotAllowed)
}

func aLink(id string, change ...func(*account.Link)) account.Link {
	l := account.Link{ID: id, Hash: "hash-" + id, Kind: account.Invitation, Role: account.User, Name: "note", MadeBy: account.OwnerID, CreatedAt: now, ExpiresAt: now.Add(time.Hour), Uses: 1}
	for _, f := range change {
		f(&l)
	}
	return l
}

func linkOnce(t *testing.T, db Engine) {
	ctx := t.Context()
	want := aLink("a")
	must(t, db.PutLink(ctx, want))
	got, err := db.LinkByHash(ctx, "hash-a")
	if must(t, err); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	_, err = db.TakeLink(ctx, "hash-a", account.Pairing, now)
	wantErr(t, "as another kind", err, account.ErrLinkDead)
	_, err = db.AcceptInvitation(ctx, "hash-a", aPerson("early"), now.Add(time.Hour))
	wantErr(t, "when it has expired", err, account.ErrLinkDead)
	somebody(t, db, "taken")
	_, err = db.AcceptInvitation(ctx, "hash-a", aPerson("taken"), now)
	wantErr(t, "with a name that is taken", err, account.ErrTaken) // and the link is as it was
	var wg sync.WaitGroup
	var joined atomic.Int64
	for i := range 8 {
		wg.Go(func() {
			p, err := db.AcceptInvitation(ctx, "hash-a", aPerson(string(rune('a'+i))), now)
			switch {
			case err == nil && p.Role == account.User:
				joined.Add(1)
			case !errors.Is(err, account.ErrLinkDead):
				t.Errorf("the others: %+v, %v", p, err)
			}
		})
	}
	if wg.Wait(); joined.Load() != 1 {
		t.Errorf("%d joined by one link", joined.Load())
	}
	must(t, db.PutLink(ctx, aLink("r", func(l *account.Link) { l.Kind, l.UserID = account.Reset, "taken" })))
	p, _, err := db.ResetPassword(ctx, "hash-r", "new", "e9", now)
	if must(t, err); p.Password != "new" || p.Epoch != "e9" {
		t.Errorf("after a reset %+v", p)
	}
	_, _, err = db.ResetPassword(ctx, "hash-r", "newer", "e10", now)
	wantErr(t, "a reset link again", err, account.ErrLinkDead)
}

func guestLink(t *testing.T, db Engine) {
	ctx := t.Context()
	must(t, db.PutLink(ctx, aLink("g", func(l *account.Link) { l.Kind, l.Role, l.Uses = account.GuestLink, account.Guest, 2 })))
	s := aSession("s1")
	s.UserID, s.Role, s.Epoch, s.ExpiresAt = "", account.Guest, "link:g", now.Add(time.Hour)
	must(t, db.PutSession(ctx, s))
	if got, err := db.Session(ctx, "s1"); err != nil || got != s {
		t.Errorf("got %+v, %v, want %+v", got, err, s)
	}
	gone, err := db.DeletePassingSessions(ctx)
	wantHashes(t, "guest mode's end", gone, err)
	must(t, db.TakeRun(ctx, "g", now))
	must(t, db.TakeRun(ctx, "g", now))
	wantErr(t, "a third run", db.TakeRun(ctx, "g", now), account.ErrLinkDead)
	must(t, db.GiveRun(ctx, "g"))
	must(t, db.TakeRun(ctx, "g", now))
	gone, err = db.RevokeLink(ctx, "g", "", now)
	wantHashes(t, "taking the link back", gone, err, "s1")
	s.Hash = "s2"
	wantErr(t, "a session of a dead link", db.PutSession(ctx, s), account.ErrBadCredentials)
}

func linksEnd(t *testing.T, db Engine) {
	ctx := t.Context()
	somebody(t, db, "a")
	somebody(t, db, "b")
	must(t, db.PutLink(ctx, aLink("mine", func(l *account.Link) { l.MadeBy = "a"; l.CreatedAt = now.Add(time.Second) })))
	must(t, db.PutLink(ctx, aLink("for me", func(l *account.Link) { l.UserID, l.Kind = "a", account.Reset })))
	must(t, db.PutLink(ctx, aLink("other", func(l *account.Link) { l.MadeBy = "b" })))
	must(t, db.PutLink(ctx, aLink("expired", func(l *account.Link) { l.ExpiresAt = now })))
	list := func(madeBy string, page account.Page) (ids []string) {
		t.Helper()
		got, err := db.Links(ctx, madeBy, now, page)
		must(t, err)
		for _, l := range got {
			ids = append(ids, l.ID)
		}
		return ids
	}
	wantHashes(t, "listing all", list("", account.Page{Limit: 9}), nil, "mine", "for me", "other")
	wantHashes(t, "listing one's own", list("a", account.Page{Limit: 9}), nil, "mine")
	wantHashes(t, "the second part", list("", account.Page{After: "mine", Limit: 9}), nil, "for me", "other")
	_, err := db.RevokeLink(ctx, "other", "a", now)
	wantNotFound(t, err) // another's
	_, err = db.RevokeUserLinks(ctx, "a", now)
	must(t, err)
	wantHashes(t, "listing what is left", list("", account.Page{Limit: 9}), nil, "other")
	must(t, db.DropLinks(ctx, now.Add(time.Minute)))
	_, err = db.LinkByHash(ctx, "hash-mine")
	wantNotFound(t, err)
}

func listed(t *testing.T, db Engine) {
	ctx := t.Context()
	for _, id := range []string{"u1", "u2"} {
		somebody(t, db, id)
	}
	for i, id := range []string{"a", "b", "c", "d"} {
		s, token := aSession(id), aToken(id)
		s.SeenAt, token.CreatedAt = now.Add(time.Duration(i/2)*time.Second), now.Add(time.Duration(i/2)*time.Second)
		if i == 3 {
			s.UserID, token.UserID = "u2", "u2"
		}
		must(t, db.PutSession(ctx, s))
		must(t, db.PutToken(ctx, token))
	}
	sessions, err := db.Sessions(ctx, "", account.Page{Limit: 9})
	must(t, err)
	tokens, err := db.TokenPage(ctx, "", account.Page{Limit: 9})
	must(t, err)
	if len(sessions) != 4 || len(tokens) != 4 || sessions[0].Hash != "c" || sessions[3].Hash != "b" || tokens[0].ID != "c" || tokens[3].ID != "b" {
		t.Errorf("listed %+v, %+v", sessions, tokens)
	}
	own, err := db.Sessions(ctx, "u2", account.Page{Limit: 9})
	must(t, err)
	ownTokens, err := db.TokenPage(ctx, "u2", account.Page{Limit: 9})
	must(t, err)
	if len(own) != 1 || own[0].Hash != "d" || len(ownTokens) != 1 || ownTokens[0].ID != "d" {
		t.Errorf("u2's: %+v, %+v", own, ownTokens)
	}
	gone, err := db.DeleteSessionOf(ctx, "a", "u2")
	wantHashes(t, "ending another's session", gone, err)
	gone, err = db.RevokeTokenOf(ctx, "a", "u2", now)
	wantHashes(t, "revoking another's token", gone, err)
	must(t, db.ProveSession(ctx, "a", now.Add(time.Hour)))
	if s, err := db.Session(ctx, "a"); err != nil || !s.ProvedAt.Equal(now.Add(time.Hour)) {
		t.Errorf("proved at %v, %v", s.ProvedAt, err)
	}
	wantNotFound(t, db.ProveSession(ctx, "nobody's", now))
	if p, err := db.Person(ctx, "u2"); err != nil || p.SeenAt.IsZero() {
		t.Errorf("u2 was never seen, %v", err)
	}
}

func eventsByPrincipal(t *testing.T, db Engine) {
	ctx := t.Context()
	must(t, db.AppendEvents(ctx, []audit.Event{{Time: now, Kind: audit.LogIn, Principal: "user:a"}, {Time: now, Kind: audit.LogIn, Principal: "user:b"}, {Time: now, Kind: audit.Failure, Principal: "user:a"}}))
	for what, c := range map[string]struct {
		filter audit.Filter
		want   int
	}{"one": {audit.Filter{Principal: "user:a", Limit: 9}, 2}, "one and a kind": {audit.Filter{Principal: "user:a", Kind: audit.LogIn, Limit: 9}, 1}, "nobody": {audit.Filter{Principal: "user:c", Limit: 9}, 0}} {
		got, err := db.FindEvents(ctx, c.filter)
		if must(t, err); len(got) != c.want {
			t.Errorf("%s: %d events, want %d", what, len(got), c.want)
		}
	}
}
