package login

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"runtime/metrics"
	"strings"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/session"
	"comfylatch/internal/throttle"
)

// LogIn checks a name and password and begins a session. The empty name is the
// owner's, because ComfyUI-Login asked for the password alone; while PASSWORD
// holds no name, any is accepted and kept. Errors: account.ErrBadCredentials,
// ErrDisabled (said only to who knows the password), ErrSetUpNeeded,
// *ThrottledError, *InputError, or a fault of ours.
func (s *Service) LogIn(ctx context.Context, name, password string, c Client) (account.Secret, account.Principal, error) {
	name = strings.TrimSpace(name)
	proved, err := s.check(ctx, name, password, c)
	if err != nil {
		return account.Secret{}, account.Principal{}, err
	}
	if person := proved.person; person.ID != "" {
		return s.Begin(ctx, person.Principal(), c, session.Terms{Epoch: person.SessionEpoch(), Proved: true}, audit.LogIn)
	}
	file := s.renew(ctx, proved.st, name, password)
	return s.Begin(ctx, ownerPrincipal(file.name), c, session.Terms{Epoch: proved.st.epoch, Proved: true}, audit.LogIn)
}

// CheckPassword makes a principal prove their password again, before something
// dangerous. Errors are those of LogIn.
func (s *Service) CheckPassword(ctx context.Context, p account.Principal, password string, c Client) error {
	_, err := s.prove(ctx, p, password, c)
	return err
}

func (s *Service) prove(ctx context.Context, p account.Principal, password string, c Client) (proof, error) {
	if p.Account() == account.OwnerID {
		return s.check(ctx, "", password, c)
	}
	person, err := s.opt.Store.Person(ctx, p.UserID)
	if errors.Is(err, account.ErrNotFound) {
		return proof{}, account.ErrBadCredentials // a guest, or gone
	}
	if err != nil {
		return proof{}, err
	}
	return s.check(ctx, person.Name, password, c)
}

// proof is whose password was proved, and against what.
type proof struct {
	st     *state
	person account.Person // zero: the owner
}

// check proves a password.
func (s *Service) check(ctx context.Context, name, password string, c Client) (proof, error) {
	st := s.follow(ctx)
	if err := checkInput(st, name, password); err != nil {
		return proof{}, err
	}
	// Whoever the name means is counted under that somebody; any other under
	// the name itself. So no spelling gives a password more tries.
	found, err := s.whose(ctx, st, name)
	if err != nil {
		return proof{}, err
	}
	attempt, err := s.opt.Throttle.Begin(ctx, found.counted, c.Address, c.Local)
	if err != nil {
		return proof{}, err
	}
	var right bool
	err = s.hash(ctx, func() { right = found.hash.matches(password) && found.known }) // for a wrong name too: the same work
	if err != nil {
		attempt.Cancel(context.WithoutCancel(ctx))
		return proof{}, err
	}
	if now := s.follow(ctx); now.err != nil || now.epoch != st.epoch { // changed while we hashed
		attempt.Cancel(context.WithoutCancel(ctx))
		return proof{}, errors.Join(now.err, account.ErrBadCredentials)
	}
	if !right {
		s.failed(ctx, attempt, audit.Failure, found.name(st), "wrong name or password", c)
		return proof{}, account.ErrBadCredentials
	}
	if found.person.Disabled() {
		s.failed(ctx, attempt, audit.Refusal, found.name(st), "the account is disabled", c)
		return proof{}, account.ErrDisabled
	}
	if err := attempt.Succeed(ctx); err != nil {
		return proof{}, err
	}
	return proof{st, found.person}, nil
}

// candidate is who a typed name means.
type candidate struct {
	known   bool
	person  account.Person // zero: the owner, or nobody
	hash    passwordHash   // to compare with; nobody's where not known
	counted string         // the name of the counter
}

// name is what the candidate is called, "" for nobody: what was typed is not
// written down, since people type their password one field too high.
func (c candidate) name(st *state) string {
	switch {
	case c.person.ID != "":
		return c.person.Name
	case c.known:
		return ownerPrincipal(st.file.name).Name
	}
	return ""
}

func (s *Service) whose(ctx context.Context, st *state, name string) (candidate, error) {
	person, err := s.opt.Store.PersonByName(ctx, name)
	if err != nil && !errors.Is(err, account.ErrNotFound) {
		return candidate{}, fmt.Errorf("log in: %w", err)
	}
	owner := candidate{known: true, hash: st.file.hash, counted: account.OwnerID}
	switch {
	case name == "" || st.file.name != "" && account.FoldName(name) == account.FoldName(st.file.name):
		return owner, nil
	case err == nil:
		hash, damaged := parseHash(person.Password) // "" before an invitation is accepted
		if damaged != nil {
			hash = s.nobodys
		}
		return candidate{known: damaged == nil, person: person, hash: hash, counted: "person:" + person.ID}, nil
	case st.file.name == "":
		return owner, nil
	}
	return candidate{hash: s.nobodys, counted: name}, nil
}

// hash does one password's hashing when the gate lets it.
func (s *Service) hash(ctx context.Context, do func()) error {
	leave, err := s.gate.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	s.hashed.Add(1)
	do()
	// The 19 MiB are garbage now. The collector would let several of them pile
	// up before it looked; where the heap is small, looking costs less than that.
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	if metrics.Read(live); live[0].Value.Uint64() < smallHeap {
		runtime.GC()
	}
	return nil
}

// checkInput refuses what cannot be tried at all, before anything is counted.
func checkInput(st *state, name, password string) error {
	switch {
	case st.err != nil:
		return st.err
	case st.file == nil:
		return account.ErrSetUpNeeded
	case password == "":
		return &account.InputError{Field: "password", Sentence: "Please enter the password."}
	case len(password) > account.MaxPassword:
		return &account.InputError{Field: "password", Sentence: fmt.Sprintf("The password is too long: at most %d bytes.", account.MaxPassword)}
	case st.file.name == "" && name != "":
		return inputError("username", account.CheckName(name))
	}
	return nil
}

func inputError(field string, err error) error {
	if err == nil {
		return nil
	}
	return &account.InputError{Field: field, Sentence: err.Error()}
}

// failed records a wrong attempt, and that the next must wait where it must.
func (s *Service) failed(ctx context.Context, a *throttle.Attempt, kind audit.Kind, name, detail string, c Client) {
	from := audit.Address(c.Address)
	s.opt.Audit.Record(ctx, audit.Event{Kind: kind, Name: name, Address: from, Detail: detail})
	if wait := a.Fail(); wait > 0 {
		s.opt.Audit.Record(ctx, audit.Event{Kind: audit.LockOut, Name: name, Address: from, Detail: "the next attempt must wait " + wait.String()})
	}
}

// renew writes PASSWORD anew after a right password, where its hash is weak or
// it has no name yet. The epoch stays, so sessions do. A folder that cannot be
// written is told to the log and keeps nobody out.
func (s *Service) renew(ctx context.Context, st *state, name, password string) passwordFile {
	file := *st.file
	if file.name == "" {
		file.name = name
	}
	if !file.hash.weak() && file.name == st.file.name {
		return file
	}
	if file.hash.weak() {
		if err := s.hash(ctx, func() { file.hash = newHash(password) }); err != nil {
			return file // at the next log-in
		}
	}
	if err := s.replace(context.WithoutCancel(ctx), st, file); err != nil {
		s.opt.Log.Error("PASSWORD could not be renewed, trying again at the next log-in", "error", err)
	}
	return file
}

// replace writes PASSWORD unless it has changed since st. The store learns the
// new line's fingerprint first: whichever line a crash leaves is known.
func (s *Service) replace(ctx context.Context, st *state, file passwordFile) error {
	s.following.Lock()
	defer s.following.Unlock()
	now, err := readPassword(s.path)
	if err != nil || now.hash.line != st.file.hash.line || now.name != st.file.name {
		return err // changed meanwhile: what is there counts
	}
	old, fresh := fingerprint(now.hash), fingerprint(file.hash)
	if err := s.opt.Store.PutMeta(ctx, map[string]string{metaPrints: old + " " + fresh}); err != nil {
		return err
	}
	if err := writeWhole(s.path, file.text(), false); err != nil {
		return err
	}
	if err := s.opt.Store.PutMeta(ctx, map[string]string{metaPrints: fresh}); err != nil {
		return err
	}
	s.seen.settled = false
	s.followLocked(ctx)
	if now.hash.bcrypt {
		s.opt.Audit.Record(ctx, audit.Event{Kind: audit.Import, Name: file.name, Detail: "the bcrypt hash became argon2id"})
	}
	return nil
}

// Begin begins a session for somebody who has just proved who they are.
func (s *Service) Begin(ctx context.Context, who account.Principal, c Client, terms session.Terms, kind audit.Kind) (account.Secret, account.Principal, error) {
	from := session.Client{Address: audit.Address(c.Address), Agent: c.Agent}
	cookie, p, err := s.opt.Sessions.Issue(ctx, who, from, terms)
	if err != nil {
		return account.Secret{}, account.Principal{}, err
	}
	s.opt.Audit.Record(ctx, audit.By(kind, p, c.Address, ""))
	return cookie, p, nil
}

func ownerPrincipal(name string) account.Principal {
	if name == "" {
		name = account.OwnerID
	}
	return account.Principal{Role: account.Owner, UserID: account.OwnerID, Name: name}
}

// SetUp chooses the first name and password and begins the owner's session.
// From another machine it takes the code that the console shows. Of several at
// once one wins, the others get account.ErrAlreadySetUp. Other errors:
// account.ErrSetUpCode, *InputError, *ThrottledError, or a fault of ours.
func (s *Service) SetUp(ctx context.Context, name, password, code string, c Client) (account.Secret, account.Principal, error) {
	none := func(err error) (account.Secret, account.Principal, error) {
		return account.Secret{}, account.Principal{}, err
	}
	st := s.follow(ctx)
	switch {
	case st.err != nil:
		return none(st.err)
	case st.file != nil:
		return none(account.ErrAlreadySetUp)
	}
	if err := s.checkCode(ctx, st, code, c); err != nil {
		return none(err)
	}
	name = strings.TrimSpace(name)
	if err := errors.Join(inputError("username", account.CheckName(name)), inputError("password", account.CheckNewPassword(password))); err != nil {
		return none(err)
	}
	if err := s.checkFree(ctx, name); err != nil {
		return none(err)
	}
	file := passwordFile{name: name}
	if err := s.hash(ctx, func() { file.hash = newHash(password) }); err != nil {
		return none(err)
	}
	err := writeWhole(s.path, file.text(), true)
	if errors.Is(err, fs.ErrExist) {
		return none(account.ErrAlreadySetUp)
	}
	if err != nil {
		return none(fmt.Errorf("keep the new password: %w", err))
	}
	s.opt.Audit.Record(ctx, audit.Event{Kind: audit.SetUp, Name: name, Address: audit.Address(c.Address)})
	st = s.follow(ctx)
	switch {
	case st.err != nil:
		return none(st.err)
	case st.file == nil || st.file.hash.line != file.hash.line: // gone or replaced by hand already
		return none(account.ErrSetUpNeeded)
	}
	return s.Begin(ctx, ownerPrincipal(name), c, session.Terms{Epoch: st.epoch, Proved: true}, audit.LogIn)
}

// checkCode lets the gate's own machine pass, and others with the right code.
// Only guesses are counted, and by address alone: a stranger who guesses must
// not keep the owner from setting up.
func (s *Service) checkCode(ctx context.Context, st *state, code string, c Client) error {
	if c.Local {
		return nil
	}
	typed := normalCode(code)
	if typed == "" {
		return account.ErrSetUpCode
	}
	attempt, err := s.opt.Throttle.Begin(ctx, "", c.Address, false)
	if err != nil {
		return err
	}
	if st.code.Empty() || !account.NewSecret(normalCode(st.code.Reveal())).Equal(typed) {
		s.failed(ctx, attempt, audit.Failure, "", "wrong set-up code", c)
		return account.ErrSetUpCode
	}
	return attempt.Succeed(ctx)
}

// Guest begins a guest's session while guest mode is on. Errors:
// account.ErrGuestsOff, *ThrottledError, or a fault of ours.
func (s *Service) Guest(ctx context.Context, c Client) (account.Secret, account.Principal, error) {
	if st := s.follow(ctx); !st.guests {
		return account.Secret{}, account.Principal{}, account.ErrGuestsOff
	}
	if err := s.guests.Count(c.Address); err != nil {
		return account.Secret{}, account.Principal{}, err
	}
	return s.Begin(ctx, account.Principal{Role: account.Guest, Name: guestName}, c, session.Terms{}, audit.GuestEntry)
}

// SetUpCode is what the console shows for a first-time set-up from another
// machine; "" once a password is set.
func (s *Service) SetUpCode() account.Secret { return s.look(context.Background()).code }

// ConsoleToken is what the console shows for API calls: the owner's rights, the
// same at each start, dead with the password. Empty before the set-up.
func (s *Service) ConsoleToken() account.Secret {
	if st := s.look(context.Background()); st.err == nil {
		return st.console
	}
	return account.Secret{}
}
