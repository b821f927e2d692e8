package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"comfylatch/internal/standin"
)

// serves are the upstreams, which run as processes of their own: this program
// with one of these words.
var serves = map[string]func(context.Context, []string) error{
	"serve-raw":     serveRaw,
	"serve-standin": serveStandin,
}

// serveStandin ADDR VERSION FRONTEND OBJECTINFO stands in for ComfyUI; the last
// two may be empty.
func serveStandin(ctx context.Context, args []string) error {
	s, err := standin.New(standin.Config{Version: args[1], FrontEndRoot: args[2], ObjectInfoFile: args[3], MaxUpload: 2 << 30})
	if err != nil {
		return err
	}
	defer s.Close()
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	hs := &http.Server{Handler: s}
	defer context.AfterFunc(ctx, func() { hs.Close() })()
	go s.Run(ctx)
	if err := hs.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// serveRaw ADDR is the least that looks like ComfyUI: it answers a few paths
// from memory, so that it is not what a measurement finds.
func serveRaw(ctx context.Context, args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		c, err := l.Accept()
		if err != nil {
			return nil
		}
		go func() {
			defer c.Close()
			r := &rawConn{c: c, br: bufio.NewReaderSize(c, 4096)}
			for r.next() == nil {
			}
		}()
	}
}

type rawConn struct {
	c       net.Conn
	br      *bufio.Reader
	chunked bool
	length  int64
	key     string // Sec-WebSocket-Key
}

// next reads a request and answers it.
func (r *rawConn) next() error {
	line, err := r.br.ReadString('\n')
	if err != nil {
		return err
	}
	words := strings.Fields(line)
	if len(words) < 2 {
		return io.ErrUnexpectedEOF
	}
	if err := r.header(); err != nil {
		return err
	}
	if err := r.body(); err != nil {
		return err
	}
	path, query, _ := strings.Cut(strings.TrimPrefix(words[1], "/api"), "?")
	return r.answer(path, query)
}

func (r *rawConn) header() error {
	r.chunked, r.length, r.key = false, 0, ""
	for {
		line, err := r.br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			return nil
		}
		name, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "content-length":
			r.length, _ = strconv.ParseInt(value, 10, 64)
		case "transfer-encoding":
			r.chunked = true
		case "sec-websocket-key":
			r.key = value
		}
	}
}

// body reads a request's body and forgets it.
func (r *rawConn) body() error {
	if r.chunked {
		_, err := discardChunks(r.br)
		return err
	}
	if r.length == 0 {
		return nil
	}
	_, err := io.CopyN(io.Discard, r.br, r.length)
	return err
}

const (
	statsJSON = `{"system": {"os": "linux", "ram_total": 1, "ram_free": 1, "comfyui_version": "0.24.0", "python_version": "3.11", "pytorch_version": "2", ` +
		`"embedded_python": false, "argv": []}, "devices": [{"name": "cpu", "type": "cpu", "index": null, "vram_total": 1, "vram_free": 1, "torch_vram_total": 1, "torch_vram_free": 1}]}`
	jsonHead = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\nServer: Python/3.11 aiohttp/3.13.2\r\n\r\n%s"
)

var small = map[string][]byte{
	"/queue":        jsonAnswer(`{"queue_running": [], "queue_pending": []}`),
	"/prompt":       jsonAnswer(`{"exec_info": {"queue_remaining": 0}}`),
	"/system_stats": jsonAnswer(statsJSON),
	"/upload/image": jsonAnswer(`{"name": "bench.png", "subfolder": "", "type": "input"}`),
}

func jsonAnswer(body string) []byte { return fmt.Appendf(nil, jsonHead, len(body), body) }

func (r *rawConn) answer(path, query string) error {
	if answer := small[path]; answer != nil {
		_, err := r.c.Write(answer)
		return err
	}
	switch path {
	case "/view":
		name, _ := strings.CutPrefix(query, "filename=")
		size, err := strconv.ParseInt(strings.TrimSuffix(name, ".png"), 10, 64)
		if err != nil {
			return err
		}
		return r.picture(size)
	case "/ws":
		return r.socket()
	}
	_, err := io.WriteString(r.c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
	return err
}

var zeros [256 << 10]byte

// picture sends as many bytes as its name says.
func (r *rawConn) picture(size int64) error {
	if _, err := fmt.Fprintf(r.c, "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n", size); err != nil {
		return err
	}
	for size > 0 {
		n, err := r.c.Write(zeros[:min(size, int64(len(zeros)))])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

// socket accepts a WebSocket and says nothing on it.
func (r *rawConn) socket() error {
	sum := sha1.Sum([]byte(r.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455 section 4.2.2
	if _, err := fmt.Fprintf(r.c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:])); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r.br)
	return err
}

// discardChunks reads a chunked body to its end, and gives its size in bytes.
func discardChunks(br *bufio.Reader) (total int64, err error) {
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return total, err
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil {
			return total, fmt.Errorf("read a chunk's size: %w", err)
		}
		total += n
		if _, err := io.CopyN(io.Discard, br, n+2); err != nil || n == 0 {
			return total, err
		}
	}
}
