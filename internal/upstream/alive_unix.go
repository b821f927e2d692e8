//go:build unix

package upstream

import "syscall"

const canLook = true

// silent tells that nothing can be read from a socket now, not even its end.
func silent(fd uintptr) bool {
	var b [1]byte
	_, err := syscall.Read(int(fd), b[:]) // never waits: Go's sockets do not block
	return err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
}
