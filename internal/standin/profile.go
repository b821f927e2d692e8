package standin

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// The versions that can be stood in for.
const (
	Version0_3_64 = "0.3.64"
	Version0_24_0 = "0.24.0"
)

// profile is what differs between the versions. Most differences follow one line in time, so
// there is one switch, named at each use by a comment that says what changed.
type profile struct {
	Version     string
	frontEnd    string // version of comfyui-frontend-package
	modern      bool   // 0.24.0
	scriptCache string // Cache-Control of .js, .css and index.json
	indexCache  string // Cache-Control of /
	models      []string
}

var commonModels = []string{"checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models",
	"embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models"}

func profileFor(version string) (profile, error) {
	with := func(more ...string) []string { return append(append([]string{}, commonModels...), more...) }
	switch version {
	case Version0_3_64:
		return profile{Version: Version0_3_64, frontEnd: "1.27.10", scriptCache: "no-cache", indexCache: "no-cache",
			models: with("custom_nodes", "hypernetworks", "photomaker", "classifiers", "model_patches", "audio_encoders")}, nil
	case Version0_24_0, "":
		return profile{Version: Version0_24_0, frontEnd: "1.45.15", modern: true, scriptCache: "no-store", indexCache: "no-store, must-revalidate",
			models: with("latent_upscale_models", "custom_nodes", "hypernetworks", "photomaker", "classifiers", "model_patches", "audio_encoders",
				"background_removal", "frame_interpolation", "geometry_estimation", "optical_flow", "detection")}, nil
	}
	return profile{}, fmt.Errorf("stand in for ComfyUI %q: only %s and %s are known", version, Version0_3_64, Version0_24_0)
}

// foreign is ComfyUI's origin check: a page of another site must not reach a server on
// loopback, since a name of that site may resolve to 127.0.0.1. 0.24.0 also believes the
// browser when it says that a request is cross-site.
func (s *Server) foreign(r *http.Request) bool {
	if s.profile.modern && r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" || r.Host == "" {
		return false
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false // as there: an origin without a host ("null") is let through
	}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = strings.Trim(r.Host, "[]"), ""
	}
	if !loopback(host) {
		return false
	}
	if port == "" {
		return !strings.EqualFold(u.Hostname(), host)
	}
	return !strings.EqualFold(u.Host, r.Host)
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// cacheWriter adds the Cache-Control that ComfyUI adds by the ending of the path, whatever the
// route: so an upload named x.png is public there, which a gate has to undo.
type cacheWriter struct {
	http.ResponseWriter
	path    string
	profile profile
	wrote   bool
}

func (w *cacheWriter) WriteHeader(status int) {
	if !w.wrote && w.Header().Get("Cache-Control") == "" {
		if c := w.profile.cacheControl(w.path, status); c != "" {
			w.Header().Set("Cache-Control", c)
		}
	}
	w.wrote = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *cacheWriter) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController and the WebSocket upgrade reach the connection.
func (w *cacheWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (p profile) cacheControl(path string, status int) string {
	path = strings.ToLower(path)
	switch {
	case hasSuffix(path, ".js", ".css", "index.json"):
		return p.scriptCache
	case hasSuffix(path, ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"):
		switch {
		case status == http.StatusNotFound:
			return "public, max-age=3600"
		case status < 300:
			return "public, max-age=86400"
		}
	}
	return ""
}

func hasSuffix(s string, suffixes ...string) bool {
	for _, x := range suffixes {
		if strings.HasSuffix(s, x) {
			return true
		}
	}
	return false
}
