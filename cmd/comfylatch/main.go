// Command comfylatch is the door in front of ComfyUI: a login, API keys,
// guests and private pictures for an unmodified ComfyUI.
//
//	comfylatch                        in front of a ComfyUI on 127.0.0.1:8188
//	comfylatch -- python3 main.py     starts ComfyUI and stands in front of it
//	comfylatch demo                   in front of an embedded stand-in
//
// The first visit asks for a name and a password. Nothing else needs to be
// set up. "comfylatch --help" lists the rest.
//
// Exit status: 0 ended as asked, 1 failed, 2 wrong usage; around a command,
// the command's own. Messages go to standard error, results to standard output.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"comfylatch/internal/config"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version = "dev"

// Env is the process's surroundings, given from outside so that tests can
// give others.
type Env struct {
	Args    []string // without the program's name
	Getenv  func(string) string
	Workdir string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Signals <-chan os.Signal // SIGINT and SIGTERM
}

func main() { os.Exit(realMain()) }

func realMain() int {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	workdir, _ := os.Getwd() // "" where it is gone: then nothing is found beside it
	args := make([]string, len(os.Args)-1)
	for i, a := range os.Args[1:] {
		args[i] = strings.Clone(a) // hideKey overwrites the original
	}
	hideKey(os.Args[1:])
	return exitStatus(os.Stderr, run(context.Background(), Env{Args: args, Getenv: os.Getenv, Workdir: workdir,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals}))
}

// statusError ends the program with a status of its own: the supervised
// command's.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// exitStatus prints the error, if it is one to be told, and gives the status.
func exitStatus(stderr io.Writer, err error) int {
	var status statusError
	var usage *config.UsageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "comfylatch: %v\nSee comfylatch --help.\n", err)
		return 2
	}
	fmt.Fprintf(stderr, "comfylatch: %v\n", err)
	return 1
}

// commands are the sub-commands. Without one, the gate itself runs.
var commands = map[string]func(context.Context, Env) error{
	"demo":      runDemo,
	"token":     runToken,
	"user":      runUser,
	"import":    runImport,
	"node":      runNode,
	"uninstall": runUninstall,
	"doctor":    runDoctor,
	"version":   runVersion,
}

func run(ctx context.Context, env Env) error {
	command := runGate
	if len(env.Args) > 0 && !strings.HasPrefix(env.Args[0], "-") {
		name := env.Args[0]
		if name == "help" {
			return printHelp(env)
		}
		if command = commands[name]; command == nil {
			return usagef("%q is not a command; to start one, write it behind --", name)
		}
		env.Args = env.Args[1:]
	}
	err := command(ctx, env)
	if errors.Is(err, config.ErrHelp) { // whichever command read the flags
		return printHelp(env)
	}
	return err
}

func usagef(format string, a ...any) error {
	return &config.UsageError{Err: fmt.Errorf(format, a...)}
}

// cutCommand splits the arguments at "--".
func cutCommand(args []string) (flags, command []string, err error) {
	i := slices.Index(args, "--")
	if i < 0 {
		return args, nil, nil
	}
	if i == len(args)-1 {
		return nil, nil, usagef("no command stands behind --: write comfylatch -- python3 main.py")
	}
	return args[:i], args[i+1:], nil
}

// readConfig reads flags, environment and file, and reports all problems at
// once. help is told apart, since it is not an error.
func readConfig(env Env, args, command []string, listen string) (config.Config, error) {
	cfg, err := config.Read(args, command, config.Env{Getenv: env.Getenv, Workdir: env.Workdir})
	if err == nil {
		err = cfg.Resolve(listen, env.Getenv)
	}
	if err != nil {
		return cfg, err
	}
	return cfg, errors.Join(cfg.Problems()...)
}

func runVersion(_ context.Context, env Env) error {
	if len(env.Args) > 0 {
		return usagef("version takes no arguments")
	}
	fmt.Fprintln(env.Stdout, "comfylatch", version)
	return nil
}
