//go:build !unix

package server

func openFiles() int { return 8192 }
