package main

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// nginxConf is what a careful administrator would write for ComfyUI: one token
// as a header or cookie, kept connections, compression, and a long life for
// the frontend's fingerprinted files.
const nginxConf = `worker_processes auto;
worker_rlimit_nofile 20000;
daemon off;
pid DIR/nginx.pid;
error_log stderr warn;
events { worker_connections 20000; }
http {
    access_log off;
    client_body_temp_path DIR/body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    tcp_nodelay on;
    keepalive_timeout 120s;
    keepalive_requests 100000000;
    upstream comfyui {
        server UPSTREAM;
        keepalive 256;
        keepalive_requests 100000000;
    }
    map $http_authorization $by_token { default 0; "Bearer SECRET" 1; }
    map $cookie_comfy $by_cookie { default 0; "SECRET" 1; }
    map $by_token$by_cookie $allowed { default 1; 00 0; }
    map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
    server {
        listen LISTEN backlog=4096;
        if ($allowed = 0) { return 401; }
        gzip on;
        gzip_comp_level 4;
        gzip_min_length 1024;
        gzip_proxied any;
        gzip_vary on;
        gzip_types application/json application/javascript text/javascript text/css image/svg+xml text/plain;
        client_max_body_size 0;
        proxy_request_buffering off;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header Authorization "";
        proxy_buffers 16 32k;
        proxy_buffer_size 16k;
        proxy_busy_buffers_size 64k;
        proxy_max_temp_file_size 0;
        proxy_read_timeout 1h;
        location / { proxy_pass http://comfyui; }
        location /assets/ {
            proxy_pass http://comfyui;
            proxy_hide_header Cache-Control;
            add_header Cache-Control "public, max-age=31536000, immutable";
        }
    }
}
`

func (b *bench) startNginx(s *server, upstream string) error {
	program := tool("nginx")
	if program == "" {
		return errNotHere
	}
	path, err := b.write("nginx.conf", "")
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	text := strings.NewReplacer("DIR", dir, "UPSTREAM", upstream, "LISTEN", s.addr, "SECRET", benchSecret).Replace(nginxConf)
	if path, err = b.write("nginx.conf", text); err != nil {
		return err
	}
	s.token, s.cookie = "Authorization: Bearer "+benchSecret, "comfy="+benchSecret
	s.process, err = b.launch(program, "-e", "stderr", "-p", dir, "-c", path)
	return err
}

const caddyfile = `{
	admin off
	auto_https off
	persist_config off
}
http://LISTEN {
	bind 127.0.0.1
	encode zstd gzip
	@stranger {
		not header Authorization "Bearer SECRET"
		not header Cookie *comfy=SECRET*
	}
	respond @stranger 401
	reverse_proxy UPSTREAM {
		header_up -Authorization
	}
}
`

func (b *bench) startCaddy(s *server, upstream string) error {
	program := tool("caddy")
	if program == "" {
		return errNotHere
	}
	path, err := b.write("Caddyfile", strings.NewReplacer("UPSTREAM", upstream, "LISTEN", s.addr, "SECRET", benchSecret).Replace(caddyfile))
	if err != nil {
		return err
	}
	s.token, s.cookie = "Authorization: Bearer "+benchSecret, "comfy="+benchSecret
	s.process, err = b.launch(program, "run", "--config", path, "--adapter", "caddyfile")
	return err
}

// startOAuth2 starts oauth2-proxy with a password file: no identity provider
// is asked. Its token is the password, as Basic.
func (b *bench) startOAuth2(s *server, upstream string) error {
	program := tool("oauth2-proxy")
	if program == "" {
		return errNotHere
	}
	sum := sha1.Sum([]byte(benchPassword))
	path, err := b.write("htpasswd", benchUser+":{SHA}"+base64.StdEncoding.EncodeToString(sum[:])+"\n")
	if err != nil {
		return err
	}
	s.token = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(benchUser+":"+benchPassword))
	s.process, err = b.launch(program, "--http-address=http://"+s.addr, "--upstream=http://"+upstream+"/", "--htpasswd-file="+path,
		"--cookie-secret="+benchSecret[:32], "--cookie-secure=false", "--client-id=none", "--client-secret=none", "--email-domain=*",
		"--provider=github", "--request-logging=false", "--auth-logging=false", "--skip-provider-button=false")
	return err
}

func (s *server) signInOAuth2() error {
	if err := s.logIn("/oauth2/sign_in", url.Values{"username": {benchUser}, "password": {benchPassword}, "rd": {"/"}}); err != nil {
		return fmt.Errorf("oauth2-proxy: %w", err)
	}
	return nil
}
