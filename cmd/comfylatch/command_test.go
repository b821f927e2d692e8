package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"comfylatch/internal/standin"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts in testdata run the real command and a few
// helpers, each as a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"comfylatch": main,
		"standin":    runStandin,
		"not-comfy":  runNotComfy,
		"web":        runWeb,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(e *testscript.Env) error {
		e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
		e.Setenv("XDG_STATE_HOME", "")
		e.Setenv("COMFYUI_API_KEY", "")
		for _, name := range []string{"PORT", "PORT2", "PORT3"} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer l.Close()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			e.Setenv(name, port)
		}
		return nil
	}})
}

// runStandin is "standin --listen ADDR --port N": a ComfyUI that is started by
// a command line. It ends with status 7 when ComfyUI is interrupted.
func runStandin() {
	port := os.Args[len(os.Args)-1]
	s, err := standin.New(standin.Config{})
	check(err)
	defer s.Close()
	fmt.Println("arguments:", os.Args[1:])
	fmt.Println("key in the environment:", os.Getenv("COMFYUI_API_KEY") != "")
	go s.Run(context.Background())
	if len(os.Args) > 1 && os.Args[1] == "--end-at-once" {
		os.Exit(3)
	}
	go func() { check(http.ListenAndServe("127.0.0.1:"+port, s)) }()
	<-interrupted()
	os.Exit(7)
}

// runNotComfy is "not-comfy PORT": a web server that is no ComfyUI.
func runNotComfy() {
	check(http.ListenAndServe("127.0.0.1:"+os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") })))
}

// runWeb is "web METHOD URL [name=value...]": one request, once the gate and
// ComfyUI answer, and prints the status, the headers that matter and the body.
// Values are a form's, or headers when they hold a colon.
func runWeb() {
	var form []string
	header := make(http.Header)
	for _, a := range os.Args[3:] {
		if name, value, ok := strings.Cut(a, ": "); ok {
			header.Set(name, value)
		} else {
			form = append(form, a)
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequest(os.Args[1], os.Args[2], strings.NewReader(strings.Join(form, "&")))
		check(err)
		req.Header = header
		if len(form) > 0 {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res, err := client.Do(req)
		if (err != nil || res.StatusCode == http.StatusBadGateway || res.StatusCode == http.StatusServiceUnavailable) && time.Now().Before(end) {
			continue
		}
		check(err)
		body, err := io.ReadAll(res.Body)
		check(err)
		fmt.Println("status", res.StatusCode)
		for _, h := range []string{"Location", "Set-Cookie"} {
			if v := res.Header.Get(h); v != "" {
				fmt.Printf("%s: %s\n", h, v)
			}
		}
		fmt.Printf("%s\n", body)
		return
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
