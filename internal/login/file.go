package login

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"comfylatch/internal/account"
)

// The names in the state folder.
const (
	passwordName  = "PASSWORD"
	guestModeName = "GUEST_MODE"
	secretName    = "secret.key"
)

const maxPasswordFile = 8 << 10 // bytes

// passwordFile is PASSWORD: the hash, and the owner's name, which ComfyUI-Login
// did not always write.
type passwordFile struct {
	hash passwordHash
	name string // "" in a one-line file
}

// parsePassword reads PASSWORD's text. It forgives what editors do to files (a
// byte order mark, CRLF, a last line with or without its end) and nothing else.
func parsePassword(text []byte) (passwordFile, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	lines := strings.Split(string(text), "\n")
	first := strings.TrimSpace(lines[0])
	if first == "" {
		return passwordFile{}, errors.New("line 1 is empty")
	}
	hash, err := parseHash(first)
	if err != nil {
		return passwordFile{}, err
	}
	file := passwordFile{hash: hash}
	if len(lines) > 1 {
		file.name = strings.TrimSpace(strings.ToValidUTF8(lines[1], "\ufffd"))
	}
	return file, nil
}

// text is PASSWORD's text in ComfyUI-Login's format.
func (f passwordFile) text() []byte {
	if f.name == "" {
		return []byte(f.hash.line + "\n")
	}
	return []byte(f.hash.line + "\n" + f.name + "\n")
}

// readPassword reads the file at path. The error wraps fs.ErrNotExist when
// there is none, and otherwise says what to do.
func readPassword(path string) (passwordFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return passwordFile{}, fmt.Errorf("read the password file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPasswordFile+1))
	if err == nil && len(text) > maxPasswordFile {
		err = fmt.Errorf("it is larger than %d bytes", maxPasswordFile)
	}
	var file passwordFile
	if err == nil {
		file, err = parsePassword(text)
	}
	if err != nil {
		return passwordFile{}, fmt.Errorf("the password file %s cannot be used: %w. Put a good copy back, or delete it to choose a new password. Until then nobody can log in", path, err)
	}
	return file, nil
}

// writeWhole puts a file in place in one step, on the disk when it returns,
// readable by its owner alone. With fresh it refuses to replace one that is
// there (fs.ErrExist): of two who try at once, one wins.
func writeWhole(path string, text []byte, fresh bool) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.tmp") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if removed := os.Remove(f.Name()); err == nil && !errors.Is(removed, fs.ErrNotExist) {
			err = removed
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if fresh {
		err = linkFresh(f.Name(), path, text)
	} else {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// linkFresh gives a finished file its name, if the name is free. Where the file
// system has no hard links, the name is taken first and filled then.
func linkFresh(from, path string, text []byte) error {
	err := os.Link(from, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDir makes a new name survive a power cut, where folders can be synced.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync() // not on every system; the name is in place either way
	return d.Close()
}

// moveOldPassword takes <ComfyUI>/PASSWORD, where ComfyUI-Login's first
// versions kept it, into the state folder, unless there is one already.
func moveOldPassword(comfyDir, path string) (moved bool, err error) {
	if comfyDir == "" {
		return false, nil
	}
	old := filepath.Join(comfyDir, passwordName)
	if old == path {
		return false, nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return false, nil // one is there, or cannot be looked at: reading it tells
	}
	file, err := readPassword(old)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = writeWhole(path, file.text(), true)
	}
	if err == nil {
		err = os.Remove(old)
	}
	if err != nil {
		return false, fmt.Errorf("move %s to %s: %w", old, path, err)
	}
	return true, nil
}

// readSecret gives the random key in path, which is made where it is missing.
func readSecret(path string) (account.Secret, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		fresh := account.RandomSecret("")
		if err = writeWhole(path, []byte(fresh.Reveal()+"\n"), true); err == nil {
			return fresh, nil
		}
		if errors.Is(err, fs.ErrExist) {
			text, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return account.Secret{}, fmt.Errorf("read the key of the console token: %w", err)
	}
	if value := strings.TrimSpace(string(text)); len(value) >= 40 {
		return account.NewSecret(value), nil
	}
	return account.Secret{}, fmt.Errorf("%s is damaged: delete it, and the console shows a new token at the next start", path)
}
