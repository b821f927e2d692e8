package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"comfylatch/internal/standin"
)

// runDemo stands in front of the embedded stand-in. Both keep what they hold
// in a folder that is removed at the end, unless --state names one.
func runDemo(ctx context.Context, env Env) (err error) {
	dir, err := os.MkdirTemp("", "comfylatch-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	env.Args = append([]string{"--state", filepath.Join(dir, "login")}, env.Args...)
	cfg, err := readConfig(env, env.Args, nil, "127.0.0.1:8189")
	if err != nil {
		return err
	}
	cfg.GuestNodes = append(cfg.GuestNodes, "LatchSlowImage") // the stand-in's own
	if cfg.FrontEndRoot == "" {
		cfg.FrontEndRoot = standin.FindFrontEnd()
	}
	comfy, err := standin.New(standin.Config{Dir: filepath.Join(dir, "comfyui"), FrontEndRoot: cfg.FrontEndRoot})
	if err != nil {
		return err
	}
	defer comfy.Close()
	// A socket in our own folder: nobody else on this machine goes round the gate.
	address := &url.URL{Scheme: "unix", Path: filepath.Join(dir, "comfyui.sock")}
	l, err := net.Listen("unix", address.Path)
	if err != nil {
		return fmt.Errorf("start the stand-in: %w", err)
	}
	hs := &http.Server{Handler: comfy}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var workers group
	workers.start(func() error { return comfy.Run(work) })
	workers.start(func() error { return hs.Serve(l) })
	defer workers.wait()
	defer hs.Close()
	defer stop()
	return serve(ctx, env, cfg, behind{address: address})
}
