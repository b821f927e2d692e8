package examples

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The configuration that docs/behind-nginx-and-caddy.md shows, in a real
// nginx, with TLS: every client works through it, and so does the browser's way.
func TestClientsThroughNginxAsDocumented(t *testing.T) {
	if program("nginx") == "" {
		t.Skip("nginx is not installed")
	}
	comfy := startStandin(t)
	gate := startGate(t, comfy, "--trusted-proxy", "127.0.0.1")
	site := startNginx(t, strings.TrimPrefix(gate, "http://"))

	for _, client := range clients(t) {
		t.Run(client.name, func(t *testing.T) {
			if client.command == "" {
				t.Skip("what runs " + client.file + " is not installed")
			}
			target := filepath.Join(t.TempDir(), "picture.png")
			cmd := example(t, site.url, "bearer", key, client.command, client.file, target)
			for _, name := range []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "WEBSOCKET_CLIENT_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
				cmd.Env = append(cmd.Env, name+"="+site.cert)
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			wantPicture(t, target)
		})
	}
	t.Run("set-up from outside needs the code", func(t *testing.T) {
		answer := site.send(t, "POST", "/login", "application/x-www-form-urlencoded", strings.NewReader("username=ana&password=a+long+phrase"), site.url)
		if answer.StatusCode != http.StatusForbidden {
			t.Errorf("got %s, want 403", answer.Status)
		}
	})
	t.Run("large upload", func(t *testing.T) {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		part, _ := form.CreateFormFile("image", "large.png")
		part.Write(bytes.Repeat([]byte("large picture..."), 1<<18)) // 4 MB: more than nginx lets through by itself
		form.Close()
		if answer := site.send(t, "POST", "/upload/image", form.FormDataContentType(), &body, ""); answer.StatusCode != http.StatusOK {
			t.Errorf("got %s, want 200", answer.Status)
		}
	})
	t.Run("slash in a file's name", func(t *testing.T) {
		const name = "/userdata/workflows%2Fa%20folder%2Fb.json"
		if answer := site.send(t, "POST", name, "application/json", strings.NewReader(`{"nodes":[]}`), ""); answer.StatusCode != http.StatusOK {
			t.Fatalf("got %s, want 200", answer.Status)
		}
		if got := comfy.asked(name); got != 1 {
			t.Errorf("%s came to ComfyUI %d times, want 1", name, got)
		}
	})
}

type nginx struct {
	url    string
	cert   string // file
	client *http.Client
}

// send makes a request with the key, or as a browser's page of origin does.
func (n *nginx) send(t *testing.T, method, path, kind string, body io.Reader, origin string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, n.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	if origin != "" {
		r.Header.Set("Origin", origin)
	} else {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	answer, err := n.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer
}

// startNginx runs nginx with the documented configuration; only addresses and
// the certificate's place are other ones.
func startNginx(t *testing.T, gate string) *nginx {
	t.Helper()
	page, err := os.ReadFile("../docs/behind-nginx-and-caddy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, config, _ := strings.Cut(string(page), "```nginx\n")
	config, _, found := strings.Cut(config, "```")
	if !found {
		t.Fatal("the page shows no nginx configuration")
	}
	dir := t.TempDir()
	n := &nginx{cert: filepath.Join(dir, "cert.pem")}
	pool := writeCertificate(t, n.cert, filepath.Join(dir, "key.pem"))
	https, plain := freePort(t), freePort(t)
	for _, change := range [][2]string{
		{"listen 443 ssl", "listen 127.0.0.1:" + https + " ssl"}, {"listen 80;", "listen 127.0.0.1:" + plain + ";"},
		{"127.0.0.1:8189", gate}, {"comfy.example.com;", "localhost;"},
		{"/etc/letsencrypt/live/comfy.example.com/fullchain.pem", n.cert},
		{"/etc/letsencrypt/live/comfy.example.com/privkey.pem", filepath.Join(dir, "key.pem")},
	} {
		if !strings.Contains(config, change[0]) {
			t.Fatalf("the page's configuration has no %q", change[0])
		}
		config = strings.ReplaceAll(config, change[0], change[1])
	}
	var frame strings.Builder
	fmt.Fprintf(&frame, "daemon off; pid %s/pid; error_log stderr; worker_processes 1;\nevents {}\nhttp {\naccess_log off;\n", dir)
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&frame, "%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(frame.String()+config+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("nginx", "-p", dir, "-c", file)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if t.Failed() {
			t.Logf("nginx said:\n%s", &log)
		}
	})
	n.url = "https://localhost:" + https
	n.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for range 200 {
		if answer, err := n.client.Get(n.url + "/health"); err == nil {
			answer.Body.Close()
			return n
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("nginx does not answer; it said:\n%s", &log)
	return nil
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, _ := url.Parse("http://" + l.Addr().String())
	return u.Port()
}

// writeCertificate makes a certificate for localhost that is its own authority.
func writeCertificate(t *testing.T, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	if err := os.WriteFile(certFile, public, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(public)
	return pool
}
