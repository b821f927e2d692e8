package main

import (
	"strings"
	"unsafe"
)

// hideKey overwrites the value of --api-key in the process's own arguments,
// which other people on the machine can list. On Linux and macOS the strings
// of os.Args are the very bytes that the system lists (runtime.goargs); where
// they are not, this changes a copy and does no harm. The documentation still
// prefers a file: for an instant the key can be seen.
func hideKey(args []string) {
	for i, a := range args {
		if a == "--" {
			return
		}
		name, value, joined := strings.Cut(a, "=")
		if name != "--api-key" && name != "-api-key" {
			continue
		}
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		if value == "" {
			continue
		}
		// value points into the arguments' memory, which is writable.
		b := unsafe.Slice(unsafe.StringData(value), len(value))
		for j := range b {
			b[j] = '*'
		}
	}
}
