package main

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
)

func interrupted() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	return c
}

func TestTheKeyOnTheCommandLineIsOverwritten(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{[]string{"--api-key", "secret12", "--guest"}, []string{"--api-key", "********", "--guest"}},
		{[]string{"--api-key=secret12"}, []string{"--api-key=********"}},
		{[]string{"-api-key", "xy"}, []string{"-api-key", "**"}},
		{[]string{"--api-key"}, []string{"--api-key"}},
		{[]string{"--", "tool", "--api-key", "theirs"}, []string{"--", "tool", "--api-key", "theirs"}},
	} {
		args := make([]string, len(c.in))
		for i, a := range c.in {
			args[i] = string([]byte(a)) // bytes of its own, that may be written
		}
		hideKey(args)
		for i := range args {
			if args[i] != c.want[i] {
				t.Errorf("%q became %q, want %q", c.in, args, c.want)
			}
		}
	}
}
