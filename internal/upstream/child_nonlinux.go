//go:build unix && !linux

package upstream

import "syscall"

// dieWithUs does nothing: only Linux can do it.
func dieWithUs(*syscall.SysProcAttr) {}
