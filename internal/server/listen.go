package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Listen opens every address: "host:port", "unix:PATH" or "systemd" (sockets
// passed by systemd, sd_listen_fds(3)). All or none.
func Listen(addrs []string) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			listeners = nil
		}
	}()
	for _, a := range addrs {
		var more []net.Listener
		switch path, unix := strings.CutPrefix(a, "unix:"); {
		case a == "systemd":
			more, err = fromSystemd()
		case unix:
			more, err = listenUnix(path)
		default:
			more, err = listenTCP(a)
		}
		if err != nil {
			return listeners, err
		}
		listeners = append(listeners, more...)
	}
	return listeners, nil
}

func listenTCP(addr string) ([]net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: the port is in use by another program; end that, or choose another with --listen", addr)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on %s: not permitted; ports below 1024 need rights, choose another with --listen", addr)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return []net.Listener{l}, nil
}

// listenUnix replaces a socket that nobody listens on any more.
func listenUnix(path string) ([]net.Listener, error) {
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if c, dialErr := net.Dial("unix", path); dialErr == nil {
			c.Close()
			return nil, fmt.Errorf("listen on unix:%s: another program is listening there", path)
		}
		if info, statErr := os.Lstat(path); statErr == nil && info.Mode()&os.ModeSocket != 0 {
			os.Remove(path)
			l, err = net.Listen("unix", path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	return []net.Listener{l}, nil
}

func fromSystemd() ([]net.Listener, error) {
	const first = 3 // SD_LISTEN_FDS_START
	pid, _ := strconv.Atoi(os.Getenv("LISTEN_PID"))
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid != os.Getpid() || n < 1 || n > 64 {
		return nil, errors.New("listen on systemd: no sockets were passed; start it by a systemd .socket unit")
	}
	var all []net.Listener
	for fd := first; fd < first+n; fd++ {
		f := os.NewFile(uintptr(fd), "systemd-"+strconv.Itoa(fd))
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return all, fmt.Errorf("listen on systemd: socket %d: %w", fd, err)
		}
		all = append(all, l)
	}
	return all, nil
}
