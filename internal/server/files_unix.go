//go:build unix

package server

import "syscall"

// openFiles is how many files the process may have open. Go raises the soft
// limit to the hard one at start.
func openFiles() int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	return int(min(uint64(l.Cur), 1<<20))
}
