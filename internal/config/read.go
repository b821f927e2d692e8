package config

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"comfylatch/internal/account"

	"github.com/pelletier/go-toml/v2"
)

// Env is the process's surroundings, given from outside.
type Env struct {
	Getenv  func(string) string
	Workdir string
}

// ErrHelp is returned by Read when help was asked for.
var ErrHelp = flag.ErrHelp

// UsageError says that the command line is wrong: exit status 2.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// file is comfylatch.toml. Every flag has a key; a key that is not here is an
// error.
type file struct {
	Listen        []string  `toml:"listen"`
	Upstream      *string   `toml:"upstream"`
	ComfyUI       *string   `toml:"comfyui"`
	State         *string   `toml:"state"`
	APIKey        *string   `toml:"api_key"`
	APIKeyFile    *string   `toml:"api_key_file"`
	Auth          *bool     `toml:"auth"`
	Guest         *bool     `toml:"guest"`
	CompanionNode *bool     `toml:"companion_node"`
	FreeMemory    *bool     `toml:"free_memory"`
	TrustedProxy  []string  `toml:"trusted_proxy"`
	Hosts         []string  `toml:"hosts"`
	GuestNodes    []string  `toml:"guest_nodes"`
	DenyNodes     []string  `toml:"deny_nodes"`
	Log           *string   `toml:"log"`
	LogDebug      *bool     `toml:"log_debug"`
	LogRequests   *bool     `toml:"log_requests"`
	SocketsGuest  *int      `toml:"max_sockets_guest"`
	SocketsUser   *int      `toml:"max_sockets_user"`
	SocketsOwner  *int      `toml:"max_sockets_owner"`
	Connections   *int      `toml:"max_connections"`
	CacheMB       *int      `toml:"cache_mb"`
	SessionIdle   *duration `toml:"session_idle"`
	SessionMax    *duration `toml:"session_max"`
}

// duration is written as Go writes it ("36h", "90m").
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a length of time: write 36h or 90m", text)
	}
	*d = duration(v)
	return nil
}

// Read reads flags, environment and file. command is the COMMAND that the gate
// starts, which may tell where ComfyUI is; nil for none.
// Errors: ErrHelp, *UsageError for the command line, others for the rest.
func Read(args, command []string, env Env) (Config, error) {
	c, words, err := ReadWords(args, command, env, nil)
	if err == nil && len(words) > 0 {
		err = &UsageError{fmt.Errorf("%q is not expected here: a command to start stands behind --, flags before it", words[0])}
	}
	return c, err
}

// ReadWords is Read for a sub-command that takes words between or behind its
// flags; more adds flags of its own, and may be nil.
func ReadWords(args, command []string, env Env, more func(*flag.FlagSet)) (c Config, words []string, err error) {
	c = Default()
	f := newFlags()
	if more != nil {
		more(f.set)
	}
	for {
		if err := f.set.Parse(args); errors.Is(err, flag.ErrHelp) {
			return c, nil, ErrHelp
		} else if err != nil {
			return c, nil, &UsageError{err}
		}
		if args = f.set.Args(); len(args) == 0 {
			break
		}
		words, args = append(words, args[0]), args[1:]
	}
	c, err = f.read(c, command, env)
	return c, words, err
}

// read applies file, environment and flags, in this order.
func (f *flags) read(c Config, command []string, env Env) (Config, error) {
	path, explicit := f.config, f.config != ""
	if !explicit {
		path = f.defaultFile(command, env)
	}
	if err := c.readFile(path, explicit); err != nil {
		return c, err
	}
	if key := strings.TrimSpace(env.Getenv("COMFYUI_API_KEY")); key != "" {
		c.APIKey, c.APIKeyFile = account.NewSecret(key), ""
	}
	if err := f.apply(&c); err != nil {
		return c, err
	}
	if c.ComfyUI == "" {
		c.ComfyUI = FindComfyUI(command, env.Workdir)
	}
	return c, nil
}

// defaultFile is comfylatch.toml in the state folder that flags alone give.
func (f *flags) defaultFile(command []string, env Env) string {
	var c Config
	_ = f.apply(&c) // its errors are reported when it is applied in earnest
	if c.ComfyUI == "" {
		c.ComfyUI = FindComfyUI(command, env.Workdir)
	}
	if err := c.Resolve("", env.Getenv); err != nil {
		return ""
	}
	return filepath.Join(c.State, "comfylatch.toml")
}

func (c *Config) readFile(path string, explicit bool) error {
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if !explicit && (errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) {
		return nil // making the folder will say what is wrong with it
	}
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	var f file
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return fileError(path, err)
	}
	if err := c.merge(f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// fileError turns the library's errors into file:line:column: sentence.
func fileError(path string, err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		var all []error
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			line, col := e.Position()
			all = append(all, fmt.Errorf("%s:%d:%d: unknown key %q: see docs/configuration.md for the known ones", path, line, col, strings.Join(e.Key(), ".")))
		}
		return errors.Join(all...)
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		line, col := bad.Position()
		return fmt.Errorf("%s:%d:%d: %w", path, line, col, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (c *Config) merge(f file) error {
	if f.Listen != nil {
		c.Listen = f.Listen
	}
	c.GuestNodes, c.DenyNodes = f.GuestNodes, f.DenyNodes
	set(&c.Upstream, f.Upstream)
	set(&c.ComfyUI, f.ComfyUI)
	set(&c.State, f.State)
	set(&c.Auth, f.Auth)
	set(&c.Guest, f.Guest)
	set(&c.CompanionNode, f.CompanionNode)
	set(&c.FreeMemory, f.FreeMemory)
	set(&c.LogFormat, f.Log)
	set(&c.LogDebug, f.LogDebug)
	set(&c.LogRequests, f.LogRequests)
	set(&c.MaxSockets.Guest, f.SocketsGuest)
	set(&c.MaxSockets.User, f.SocketsUser)
	set(&c.MaxSockets.Owner, f.SocketsOwner)
	set(&c.MaxConnections, f.Connections)
	set(&c.CacheMB, f.CacheMB)
	set(&c.SessionIdle, (*time.Duration)(f.SessionIdle))
	set(&c.SessionMax, (*time.Duration)(f.SessionMax))
	if f.APIKey != nil {
		c.APIKey = account.NewSecret(*f.APIKey)
	}
	if f.APIKeyFile != nil {
		if err := c.useKeyFile(*f.APIKeyFile); err != nil {
			return err
		}
	}
	for _, h := range f.Hosts {
		c.Hosts = append(c.Hosts, strings.ToLower(h))
	}
	for _, s := range f.TrustedProxy {
		p, err := parsePrefix(s)
		if err != nil {
			return err
		}
		c.TrustedProxies = append(c.TrustedProxies, p)
	}
	return nil
}

func (c *Config) useKeyFile(path string) error {
	key, warning, err := readKeyFile(path)
	if err != nil {
		return err
	}
	c.APIKey, c.APIKeyFile = key, path
	if warning != "" {
		c.Warnings = append(c.Warnings, warning)
	}
	return nil
}

// flags are the command line's, kept as changes to be made to a Config once
// the file has been read.
type flags struct {
	set     *flag.FlagSet
	config  string
	listen  []string // all of them replace the file's
	applies []func(*Config) error
}

// apply makes the changes, in the order of the flags.
func (f *flags) apply(c *Config) error {
	if f.listen != nil {
		c.Listen = f.listen
	}
	for _, apply := range f.applies {
		if err := apply(c); err != nil {
			return err
		}
	}
	return nil
}

func newFlags() *flags {
	f := &flags{set: flag.NewFlagSet("comfylatch", flag.ContinueOnError)}
	f.set.SetOutput(io.Discard) // the command writes errors and help itself
	str := func(flag string, apply func(*Config, string) error) {
		f.set.Func(flag, "", func(s string) error {
			f.applies = append(f.applies, func(c *Config) error { return apply(c, s) })
			return nil
		})
	}
	f.set.Func("listen", "", func(s string) error { f.listen = append(f.listen, s); return nil })
	str("upstream", func(c *Config, s string) error { c.Upstream = s; return nil })
	str("comfyui", func(c *Config, s string) error { c.ComfyUI = s; return nil })
	str("state", func(c *Config, s string) error { c.State = s; return nil })
	str("api-key", func(c *Config, s string) error {
		if s == "" {
			return errors.New("the API key is empty: leave --api-key out, or make one with: openssl rand -base64 32")
		}
		c.APIKey, c.APIKeyFile = account.NewSecret(s), ""
		c.Warnings = append(c.Warnings, "a key on the command line can be seen by others on this machine: prefer --api-key-file")
		return nil
	})
	str("api-key-file", (*Config).useKeyFile)
	str("auth", func(c *Config, s string) (err error) { c.Auth, err = parseOnOff("auth", s); return })
	f.set.BoolFunc("guest", "", func(s string) error {
		f.applies = append(f.applies, func(c *Config) error { c.Guest = s == "true"; return nil })
		return nil
	})
	f.set.BoolFunc("companion-node", "", func(s string) error {
		f.applies = append(f.applies, func(c *Config) error { c.CompanionNode = s == "true"; return nil })
		return nil
	})
	str("free-memory", func(c *Config, s string) (err error) { c.FreeMemory, err = parseOnOff("free-memory", s); return })
	str("trusted-proxy", func(c *Config, s string) error {
		p, err := parsePrefix(s)
		c.TrustedProxies = append(c.TrustedProxies, p)
		return err
	})
	str("log", func(c *Config, s string) error { c.LogFormat = s; return nil })
	f.set.BoolFunc("debug", "", func(s string) error {
		f.applies = append(f.applies, func(c *Config) error { c.LogDebug = s == "true"; return nil })
		return nil
	})
	str("front-end-root", func(c *Config, s string) error { c.FrontEndRoot = s; return nil })
	f.set.StringVar(&f.config, "config", "", "")
	return f
}
