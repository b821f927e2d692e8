package login

import (
	"errors"
	"io/fs"
)

// CheckFile tells whether there is a PASSWORD file at path, and as an error
// what is wrong with it. It changes nothing.
func CheckFile(path string) (set bool, err error) {
	switch _, err := readPassword(path); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}
