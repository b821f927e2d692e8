//go:build !unix

package upstream

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

// signalGroup ends the child: there are no signals to pass on here.
func signalGroup(p *os.Process, _ os.Signal) error { return p.Kill() }

func killGroup(p *os.Process) { p.Kill() }

func exitStatus(s *os.ProcessState) int { return s.ExitCode() }
