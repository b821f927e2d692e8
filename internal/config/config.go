// Package config holds every setting of the gate: its default, how it is read
// from flags, environment and comfylatch.toml, and what is wrong with it.
//
// Reading is strict: a key that is not known is an error with its line and
// column. Problems has no side effects and reports everything at once. Where
// a setting stands in several places, a flag wins over the environment, and
// that over the file.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"comfylatch/internal/account"
)

// Config is every setting.
type Config struct {
	Listen         []string       // "127.0.0.1:8189", "unix:/run/comfylatch.sock", "systemd"
	Upstream       string         // http://host:port of ComfyUI
	ComfyUI        string         // ComfyUI's folder, "" when not known
	State          string         // the state folder, "" until Resolve
	APIKey         account.Secret // fixed key with the owner's rights, empty for none
	APIKeyFile     string         // where the key was read from
	Auth           bool           // off: everybody is the owner, loopback only
	Guest          bool           // guest mode, whatever the GUEST_MODE file says
	CompanionNode  bool           // put the companion node into the ComfyUI that is started
	FreeMemory     bool           // free ComfyUI's memory when the last person leaves
	TrustedProxies []netip.Prefix // peers whose X-Forwarded-* count
	Hosts          []string       // host names that are served; all when empty
	GuestNodes     []string       // node classes that guests may run besides ComfyUI's own
	DenyNodes      []string       // node classes that only administrators may run
	LogFormat      string         // "text" or "json"
	LogDebug       bool           // more detail in the log
	LogRequests    bool           // a line for each request; off: for refused and failed ones only
	MaxSockets     SocketLimits   // WebSockets open at once
	MaxConnections int            // connections open at once; 0: as the limit of open files allows
	CacheMB        int            // MB of what ComfyUI serves that are kept in memory
	FrontEndRoot   string         // demo: folder of the real frontend
	SessionIdle    time.Duration  // a session unused for so long has ended
	SessionMax     time.Duration  // a session older than this has ended
	Warnings       []string       // found while reading: not errors, but to be told
}

// SocketLimits are how many WebSockets one guest, one user, and one owner or
// key may have open at once.
type SocketLimits struct{ Guest, User, Owner int }

// Default is a gate on its own machine in front of ComfyUI's usual port.
func Default() Config {
	return Config{
		Listen:      nil, // 127.0.0.1:8189, or 8188 around a command: see Resolve
		Upstream:    "http://127.0.0.1:8188",
		Auth:        true,
		FreeMemory:  true,
		LogRequests: true,
		MaxSockets:  SocketLimits{Guest: 64, User: 512, Owner: 20_000},
		CacheMB:     128,
		LogFormat:   "text",
		SessionIdle: 7 * 24 * time.Hour,
		SessionMax:  30 * 24 * time.Hour,
	}
}

// Resolve fills in what depends on something else. listen is the address to
// take when none was given.
func (c *Config) Resolve(listen string, getenv func(string) string) error {
	if len(c.Listen) == 0 {
		c.Listen = []string{listen}
	}
	if c.State != "" {
		return nil
	}
	state, err := c.stateFolder(getenv)
	c.State = state
	return err
}

func (c *Config) stateFolder(getenv func(string) string) (string, error) {
	if c.ComfyUI != "" {
		return filepath.Join(c.ComfyUI, "login"), nil
	}
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "comfylatch"), nil
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "comfylatch"), nil
	}
	return "", errors.New("there is no folder for the state: HOME is not set; give one with --state DIR")
}

// Problems is everything that is wrong, each with what to do about it.
func (c Config) Problems() []error {
	var all []error
	add := func(err error) {
		if err != nil {
			all = append(all, err)
		}
	}
	for _, l := range c.Listen {
		add(checkListen(l))
	}
	add(checkUpstream(c.Upstream))
	add(c.checkKey())
	if c.ComfyUI != "" {
		if _, err := os.Stat(filepath.Join(c.ComfyUI, "main.py")); err != nil {
			add(fmt.Errorf("comfyui %q is not ComfyUI's folder: there is no main.py in it", c.ComfyUI))
		}
	}
	if !c.Auth {
		for _, l := range c.Listen {
			if !Loopback(l) {
				add(fmt.Errorf("auth is off, but %q can be reached from other machines: listen on 127.0.0.1, or leave auth on", l))
			}
		}
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		add(&UsageError{fmt.Errorf("log %q is unknown: use text or json", c.LogFormat)})
	}
	if m := c.MaxSockets; m.Guest < 1 || m.User < 1 || m.Owner < 1 {
		add(errors.New("max_sockets_guest, max_sockets_user and max_sockets_owner must be at least 1"))
	}
	if c.MaxConnections < 0 || c.MaxConnections > 0 && c.MaxConnections < 16 {
		add(fmt.Errorf("max_connections is %d: use at least 16, or 0 for as many as the limit of open files allows", c.MaxConnections))
	}
	if c.CacheMB < 1 || c.CacheMB > 1<<16 {
		add(fmt.Errorf("cache_mb is %d: use 1 to 65536", c.CacheMB))
	}
	if c.SessionIdle < time.Minute || c.SessionMax < c.SessionIdle {
		add(fmt.Errorf("session_idle (%v) must be at least a minute and session_max (%v) not shorter", c.SessionIdle, c.SessionMax))
	}
	return all
}

func (c Config) checkKey() error {
	key := c.APIKey.Reveal()
	switch {
	case c.APIKey.Empty():
		return nil
	case len([]rune(key)) < account.MinKey:
		return fmt.Errorf("the API key is too short: at least %d characters are needed; make one with: openssl rand -base64 32", account.MinKey)
	case len(key) > 512:
		return errors.New("the API key is too long: at most 512 bytes")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f || r > 0x7e }):
		return errors.New("the API key holds a space or a character that cannot stand in an HTTP header; make one with: openssl rand -base64 32")
	}
	return nil
}

// Loopback tells whether an address to listen on can be reached only from
// this machine.
func Loopback(listen string) bool {
	if strings.HasPrefix(listen, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false // systemd's sockets are not known: assume the worst
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func checkListen(l string) error {
	if l == "systemd" {
		return nil
	}
	if path, ok := strings.CutPrefix(l, "unix:"); ok {
		if path == "" {
			return &UsageError{errors.New(`listen "unix:" lacks the path of the socket: unix:/run/comfylatch.sock`)}
		}
		return nil
	}
	_, port, err := net.SplitHostPort(l)
	if err != nil {
		return &UsageError{fmt.Errorf("listen %q is not an address: write 127.0.0.1:8189, :8189 or unix:PATH", l)}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return &UsageError{fmt.Errorf("listen %q has no valid port: use a number from 0 to 65535", l)}
	}
	return nil
}

func checkUpstream(s string) error {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return &UsageError{fmt.Errorf("upstream %q is not a ComfyUI address: write http://127.0.0.1:8188", s)}
	}
	return nil
}

// parseOnOff reads a switch.
func parseOnOff(name, s string) (bool, error) {
	switch s {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return false, &UsageError{fmt.Errorf("%s %q is unknown: use on or off", name, s)}
}

// parsePrefix reads "10.0.0.0/8" or a single address.
func parsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.Prefix{}, &UsageError{fmt.Errorf("trusted-proxy %q is not a network: write 127.0.0.1 or 10.0.0.0/8", s)}
}

// readKeyFile takes the first line: a file made by echo ends in a newline.
func readKeyFile(path string) (key account.Secret, warning string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return key, "", fmt.Errorf("read the API key file: %w", err)
	}
	if info.Size() > 4096 {
		return key, "", fmt.Errorf("read the API key file: %s is larger than 4 KB, so it is not a key", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return key, "", fmt.Errorf("read the API key file: %w", err)
	}
	line := strings.TrimSpace(strings.TrimPrefix(string(data), "\ufeff"))
	if line == "" {
		return key, "", fmt.Errorf("the API key file %s is empty", path)
	}
	if strings.ContainsAny(line, "\r\n") {
		return key, "", fmt.Errorf("the API key file %s has more than one line", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		warning = fmt.Sprintf("others can read the API key file %s: run chmod 600 on it", path)
	}
	return account.NewSecret(line), warning, nil
}

// FindComfyUI gives the folder of the ComfyUI that COMMAND starts, "" when it
// cannot be told: the folder of an argument named main.py that stands beside
// ComfyUI's comfy folder.
func FindComfyUI(command []string, workdir string) string {
	i := slices.IndexFunc(command, func(arg string) bool { return filepath.Base(arg) == "main.py" })
	if i < 0 {
		return ""
	}
	dir := filepath.Dir(command[i])
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(workdir, dir)
	}
	for _, part := range []string{"main.py", "comfy", "custom_nodes"} {
		if _, err := os.Stat(filepath.Join(dir, part)); err != nil {
			return ""
		}
	}
	return cmp.Or(filepath.Clean(dir), "")
}
