package login

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"comfylatch/internal/account"
)

// TokenStore keeps tokens. The revoking methods give the hashes of what ended,
// with everything that was obtained for it.
type TokenStore interface {
	PutToken(ctx context.Context, t account.Token) error
	TokenByHash(ctx context.Context, hash string) (account.Token, error) // dead ones too; account.ErrNotFound
	Tokens(ctx context.Context) ([]account.Token, error)                 // not revoked
	TouchTokens(ctx context.Context, uses []account.Token) error
	RevokeToken(ctx context.Context, id string, at time.Time) ([]string, error)
	RevokeUserTokens(ctx context.Context, userID string, at time.Time) ([]string, error)
	RevokeEpochTokens(ctx context.Context, prefix, live string, at time.Time) ([]string, error)
	RevokeExpiredTokens(ctx context.Context, at time.Time) ([]string, error)
	DropTokens(ctx context.Context, revokedBefore time.Time) error
	ForeignChanges(ctx context.Context) (int64, error)
}

const (
	tokenPrefix   = "cl_"  // of a program's token and the console's
	browserPrefix = "clb_" // of what /auth_login.html obtains
	kindAPI       = "api"
	kindBrowser   = "browser"

	keyEpoch   = "key:"   // begins the epoch of a token that dies with the fixed key
	tokenEpoch = "token:" // begins the epoch of one that dies with another token, and a token's Ref

	browserTokenLife = 30 * 24 * time.Hour
	useStep          = time.Minute // a token's last use is written at most this often
	maxTokensKept    = 4096        // in memory
)

// Tokens are the named credentials of programs. Sub-commands use it alone,
// beside a running gate, which follows what they did within a second.
type Tokens struct {
	store TokenStore

	kept sync.Map // of *keptToken by the hash of the value; read without a lock

	mu    sync.Mutex // guards what follows, and changes of kept
	count int        // of kept
	ended uint64     // grows with every revocation
}

// keptToken is a token in memory, and its last use.
type keptToken struct {
	account.Token
	used    atomic.Pointer[use]
	written time.Time // the use that the store has; guarded by Tokens.mu
}

type use struct {
	at   time.Time
	from string
}

// see notes a use. Those within a second from one address are one.
func (k *keptToken) see(now time.Time, from string) {
	last := k.used.Load()
	if from == "" {
		from = last.from
	}
	if from != last.from || now.Sub(last.at) >= time.Second {
		k.used.Store(&use{now, from})
	}
}

// NewTokens manages the tokens in store.
func NewTokens(store TokenStore) *Tokens {
	return &Tokens{store: store}
}

// NewToken is what to make a token of.
type NewToken struct {
	Name    string
	Role    account.Role
	Scope   account.Scope
	UserID  string    // account.OwnerID where empty
	Expires time.Time // zero: never
}

// CreateToken makes a named token and gives its value, which is kept nowhere.
// A name that is taken or cannot be shown is an *account.InputError.
func (t *Tokens) CreateToken(ctx context.Context, n NewToken) (account.Secret, account.Token, error) {
	none := func(err error) (account.Secret, account.Token, error) { return account.Secret{}, account.Token{}, err }
	if err := inputError("name", account.CheckName(n.Name)); err != nil {
		return none(err)
	}
	if n.Role == account.Anonymous {
		return none(errors.New("make a token: it needs a role"))
	}
	if !n.Expires.IsZero() && !n.Expires.After(time.Now()) {
		return none(&account.InputError{Field: "expires", Sentence: "The token would have expired already."})
	}
	if n.UserID == "" {
		n.UserID = account.OwnerID
	}
	if _, err := t.store.RevokeExpiredTokens(ctx, time.Now()); err != nil { // their names are free
		return none(fmt.Errorf("make a token: %w", err))
	}
	value, made, err := t.put(ctx, tokenPrefix, account.Token{Name: n.Name, Kind: kindAPI, UserID: n.UserID, Role: n.Role, Scope: n.Scope, ExpiresAt: n.Expires})
	if errors.Is(err, account.ErrTaken) {
		return none(&account.InputError{Field: "name", Sentence: fmt.Sprintf("There is a token named %q already: revoke it first, or choose another name.", n.Name)})
	}
	return value, made, err
}

func (t *Tokens) put(ctx context.Context, prefix string, token account.Token) (account.Secret, account.Token, error) {
	value := account.RandomSecret(prefix)
	token.ID, token.Hash = account.NewID(), value.Hash()
	// As the store keeps them: what is told now equals what is listed later.
	token.CreatedAt, token.ExpiresAt = time.Now().Truncate(time.Millisecond), token.ExpiresAt.Truncate(time.Millisecond)
	if err := t.store.PutToken(ctx, token); err != nil {
		return account.Secret{}, account.Token{}, fmt.Errorf("make a token: %w", err)
	}
	return value, token, nil
}

// ListTokens gives the live tokens of programs and browsers, the oldest first.
func (t *Tokens) ListTokens(ctx context.Context) ([]account.Token, error) {
	all, err := t.store.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	live := all[:0]
	for _, one := range all {
		if one.Live(now) {
			live = append(live, one)
		}
	}
	return live, nil
}

// revoke ends the token with this ID, or the owner's program token of this name,
// and gives what ended with it. account.ErrNotFound where there is none.
func (t *Tokens) revoke(ctx context.Context, idOrName string) (account.Token, []string, error) {
	all, err := t.store.Tokens(ctx)
	if err != nil {
		return account.Token{}, nil, fmt.Errorf("revoke a token: %w", err)
	}
	var found *account.Token
	for i, one := range all {
		if one.ID == idOrName {
			found = &all[i]
			break
		}
		if one.Kind == kindAPI && one.Name == idOrName && one.UserID == account.OwnerID { // others' names are theirs
			found = &all[i]
		}
	}
	if found == nil {
		return account.Token{}, nil, fmt.Errorf("revoke a token: %w", account.ErrNotFound)
	}
	gone, err := t.store.RevokeToken(ctx, found.ID, time.Now())
	t.forget()
	return *found, gone, err
}

// RevokeToken ends a token by its ID, or the owner's by its name.
func (t *Tokens) RevokeToken(ctx context.Context, idOrName string) error {
	_, _, err := t.revoke(ctx, idOrName)
	return err
}

// find gives the live token with this value and notes its use. Errors:
// account.ErrNotFound, account.ErrExpired, or a fault of the store.
func (t *Tokens) find(ctx context.Context, value, from string) (account.Token, error) {
	if !strings.HasPrefix(value, tokenPrefix) && !isBrowserToken(value) {
		return account.Token{}, account.ErrNotFound
	}
	key := sha256.Sum256([]byte(value))
	k, err := t.load(ctx, key)
	if err != nil {
		return account.Token{}, err
	}
	now := time.Now()
	if !k.Live(now) {
		return account.Token{}, account.ErrExpired
	}
	k.see(now, from)
	return k.Token, nil
}

// load gives a token, from memory or the store; from there again where
// something was revoked meanwhile.
func (t *Tokens) load(ctx context.Context, key [sha256.Size]byte) (*keptToken, error) {
	if k, ok := t.kept.Load(key); ok {
		return k.(*keptToken), nil
	}
	for {
		t.mu.Lock()
		before := t.ended
		t.mu.Unlock()
		token, err := t.store.TokenByHash(ctx, hex.EncodeToString(key[:]))
		if err != nil {
			return nil, err
		}
		k := &keptToken{Token: token, written: token.UsedAt}
		k.used.Store(&use{token.UsedAt, token.UsedFrom})
		if t.keep(key, k, before) {
			return k, nil
		}
	}
}

// keep holds a live token in memory, unless something was revoked since ended
// was before: then it tells so.
func (t *Tokens) keep(key [sha256.Size]byte, k *keptToken, before uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended != before {
		return false
	}
	if !k.Live(time.Now()) {
		return true
	}
	if t.count >= maxTokensKept {
		t.kept.Range(func(old, _ any) bool { // any: the store has it, but for a minute's last use
			t.kept.Delete(old)
			t.count--
			return false
		})
	}
	if _, again := t.kept.Swap(key, k); !again {
		t.count++
	}
	return true
}

// forget drops what is in memory: something was revoked.
func (t *Tokens) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended++
	t.count = 0
	t.kept.Clear()
}

// flush writes last uses that are at least step newer than what is stored.
func (t *Tokens) flush(ctx context.Context, step time.Duration) error {
	var uses []account.Token
	t.mu.Lock()
	t.kept.Range(func(_, v any) bool {
		k := v.(*keptToken)
		if last := k.used.Load(); last.at.After(k.written) && last.at.Sub(k.written) >= step {
			used := k.Token
			used.UsedAt, used.UsedFrom = last.at, last.from
			uses = append(uses, used)
			k.written = last.at
		}
		return true
	})
	t.mu.Unlock()
	if len(uses) == 0 {
		return nil
	}
	return t.store.TouchTokens(ctx, uses)
}

func isBrowserToken(value string) bool { return strings.HasPrefix(value, browserPrefix) }

// tokenRef is a token's Ref; refHash the way back.
func tokenRef(hash string) string { return account.TokenRef(hash) }

func refHash(ref string) (hash string, isToken bool) { return strings.CutPrefix(ref, tokenEpoch) }

func tokenPrincipal(t account.Token) account.Principal {
	return account.Principal{Role: t.Role, UserID: t.UserID, Name: t.Name, Method: account.ByToken, Ref: tokenRef(t.Hash), Scope: t.Scope}
}
