package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
)

// socketHeaders are those of requestHeaders that make sense in a handshake.
var socketHeaders = []string{"Accept-Language", "Cache-Control", "Comfy-Usage-Source", "Cookie", "Pragma", "User-Agent"}

// badHandshake is a request that is no WebSocket handshake. It is answered
// here: ComfyUI never sees it, and so can never be made to believe in a
// tunnel that we do not see, or the other way round.
type badHandshake struct {
	status int
	why    string
}

func (e *badHandshake) Error() string { return e.why }

// hello is what counts of a client's handshake.
type hello struct {
	key       string
	protocols []string
	header    http.Header // what may go upstream
}

// checkHandshake reads a client's handshake (RFC 6455 section 4.2.1).
func checkHandshake(r *http.Request) (found hello, err error) {
	h := r.Header
	bad := func(status int, why string) (hello, error) {
		return hello{}, &badHandshake{status, why}
	}
	switch {
	case r.Method != http.MethodGet:
		return bad(http.StatusMethodNotAllowed, "A WebSocket is opened with GET.")
	case r.ProtoMajor != 1 || r.ProtoMinor < 1 || len(h["Upgrade"]) == 0:
		return bad(http.StatusUpgradeRequired, "This is a WebSocket: open it as one.")
	case len(h["Upgrade"]) != 1 || !strings.EqualFold(h["Upgrade"][0], "websocket") || !namedIn(h["Connection"], "upgrade"):
		return bad(http.StatusBadRequest, "Only an upgrade to WebSocket is possible here.")
	case len(h["Sec-Websocket-Version"]) != 1 || h["Sec-Websocket-Version"][0] != "13":
		return bad(http.StatusUpgradeRequired, "Only version 13 of WebSocket is supported.")
	case r.ContentLength != 0 || len(r.TransferEncoding) != 0:
		return bad(http.StatusBadRequest, "A WebSocket handshake has no body.")
	case len(h["Sec-Websocket-Key"]) != 1:
		return bad(http.StatusBadRequest, "The WebSocket key is missing.")
	}
	found.key = h["Sec-Websocket-Key"][0]
	if raw, err := base64.StdEncoding.DecodeString(found.key); err != nil || len(raw) != 16 {
		return bad(http.StatusBadRequest, "The WebSocket key is not valid.")
	}
	for _, line := range h["Sec-Websocket-Protocol"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); !isToken(name) {
				return bad(http.StatusBadRequest, "The WebSocket protocols are not valid.")
			}
			found.protocols = append(found.protocols, name)
		}
	}
	return found, nil
}

func isToken(s string) bool {
	const others = "!#$%&'*+-.^_`|~"
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alnum && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return s != ""
}

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// withClientID gives the request that goes upstream and its client id. ComfyUI
// makes up an id where there is none; then we do, so that it is known whose
// it is.
func withClientID(req *comfy.Request) (*comfy.Request, string) {
	if id, _ := req.Value("clientId"); id != "" {
		return req, id
	}
	id := randomHex(16)
	own := *req
	own.Query = slices.Clone(req.Query)
	own.DropQuery("clientId")
	own.Query = append(own.Query, comfy.Pair{Key: "clientId", Value: id, Raw: "clientId=" + url.QueryEscape(id)})
	return &own, id
}

// settle is what ComfyUI gets between the end of a connection and the next
// with the same client id. aiohttp has forgotten the id before we see the end;
// other servers, the stand-in among them, may do so a moment later.
const settle = 20 * time.Millisecond

// serveSocket relays one WebSocket. It returns when the relay has begun.
func (p *Proxy) serveSocket(w http.ResponseWriter, r *http.Request, req *comfy.Request, who account.Principal) {
	h, err := checkHandshake(r)
	if bad := (*badHandshake)(nil); errors.As(err, &bad) {
		if bad.status == http.StatusUpgradeRequired {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Sec-WebSocket-Version", "13")
		}
		refuse(w, bad.status, bad.why)
		return
	}
	if h.header, err = outHeader(r.Header, p.opts.OurCookie); err != nil {
		refuseHeaders(w)
		return
	}
	req, clientID := withClientID(req)
	release, ok := p.ids.hold(clientID, who.ID())
	if !ok {
		refuse(w, http.StatusForbidden, "This client id belongs to somebody else.")
		return
	}
	s, ctx := p.newSocket(r, who, clientID, release)
	limit := 0
	if p.opts.MaxSockets != nil {
		limit = p.opts.MaxSockets(who)
	}
	before, err := p.sockets.add(s, limit)
	switch {
	case err == errTooMany:
		release()
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusTooManyRequests, "Too many connections are open. Close another tab or program first.")
		return
	case err != nil:
		release()
		refuse(w, http.StatusServiceUnavailable, "The gate is stopping.")
		return
	}
	started := false
	defer func() {
		if !started { // also where begin panics to abort the client's connection
			s.gone()
			p.sockets.running.Done()
		}
	}()
	// The handshake ends with the client and, by s.end, when the socket must.
	ctx, cancel := context.WithTimeout(ctx, p.times.Handshake)
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()
	started = p.begin(ctx, w, r, req, s, before, h)
}

// begin shakes hands with ComfyUI, then with the client, and starts the relay.
// It is false where there is no relay; then the client has its answer.
func (p *Proxy) begin(ctx context.Context, w http.ResponseWriter, r *http.Request, req *comfy.Request, s, before *socket, h hello) bool {
	if before != nil {
		before.end(cause{code: closePolicy, reason: "opened again elsewhere"})
		// Also where this one must end meanwhile: who comes after it waits for
		// this one only.
		select {
		case <-before.done:
		case <-time.After(2 * p.times.Close):
		}
		time.Sleep(settle)
	}
	conn, err := p.up.DialSocket(ctx)
	if err != nil {
		p.failSocket(w, r, req, s, err)
		return false
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	res, br, err := p.greet(conn, req, h)
	if !stop() {
		err = ctx.Err() // whatever came of the handshake
	}
	if err != nil {
		defer p.part(conn)
		p.failSocket(w, r, req, s, err)
		return false
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		defer conn.Close()
		defer res.Body.Close()
		conn.SetDeadline(time.Now().Add(p.times.Body))
		p.answer(w, req, s.who, res)
		return false
	}
	client, early, err := takeOver(w, acceptKey(h.key), res.Header.Get("Sec-Websocket-Protocol"), p.times.Write)
	if err != nil {
		defer p.part(conn)
		p.log.Warn("cannot take over the client's connection for a WebSocket", "error", err)
		panic(http.ErrAbortHandler)
	}
	conn.SetDeadline(time.Time{})
	s.client, s.server = clientLeg(client, early, p.times.Write), serverLeg(conn, buffered(br), p.times.Write)
	s.start()
	return true
}

// part ends a connection to ComfyUI on which a handshake was begun, and waits
// until ComfyUI has ended it, too: it may have entered the client id, and
// would drop the id's next socket when it notices the end of this one.
func (p *Proxy) part(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(p.times.Close))
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
		io.Copy(io.Discard, conn) // until its end or the deadline
	}
}

func (p *Proxy) failSocket(w http.ResponseWriter, r *http.Request, req *comfy.Request, s *socket, err error) {
	if c := s.cause.Load(); c != nil {
		refuse(w, http.StatusServiceUnavailable, "The connection was ended: "+c.reason+".")
		return
	}
	p.fail(w, r, req, err)
}

// greet sends a handshake of our own and reads ComfyUI's answer: 101 that has
// proved itself, or an ordinary answer.
func (p *Proxy) greet(conn net.Conn, req *comfy.Request, h hello) (*http.Response, *bufio.Reader, error) {
	nonce := make([]byte, 16)
	rand.Read(nonce) // never fails
	key := base64.StdEncoding.EncodeToString(nonce)
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", req.Target(), p.up.Host(), key)
	if len(h.protocols) > 0 {
		fmt.Fprintf(&b, "Sec-WebSocket-Protocol: %s\r\n", strings.Join(h.protocols, ", "))
	}
	sent := make(http.Header, len(socketHeaders))
	for _, name := range socketHeaders {
		if v, ok := h.header[name]; ok {
			sent[name] = v
		}
	}
	if p.opts.Sign != nil {
		p.opts.Sign(sent)
	}
	sent.Write(&b) // a bytes.Buffer never fails
	b.WriteString("\r\n")
	if _, err := conn.Write(b.Bytes()); err != nil {
		return nil, nil, err
	}
	const maxHeader = 64 << 10 // bytes
	limited := &io.LimitedReader{R: conn, N: maxHeader}
	br := bufio.NewReaderSize(limited, 1<<10)
	res, err := http.ReadResponse(br, &http.Request{Method: http.MethodGet})
	for range 5 { // answers before the answer, such as 103
		if err != nil || res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			break
		}
		res, err = http.ReadResponse(br, &http.Request{Method: http.MethodGet})
	}
	if err != nil {
		return nil, nil, err
	}
	limited.N = math.MaxInt64
	return res, br, checkAnswer(res, key, h.protocols)
}

// checkAnswer makes sure that a 101 is the answer to our handshake (RFC 6455
// section 4.1) and holds nothing that was not asked for.
func checkAnswer(res *http.Response, key string, protocols []string) error {
	if res.StatusCode != http.StatusSwitchingProtocols {
		if res.StatusCode < 200 || res.StatusCode > 599 {
			return fmt.Errorf("ComfyUI answered a WebSocket handshake with status %d", res.StatusCode)
		}
		return nil
	}
	h := res.Header
	protocol := h["Sec-Websocket-Protocol"]
	switch {
	case !strings.EqualFold(h.Get("Upgrade"), "websocket"), !namedIn(h["Connection"], "upgrade"),
		h.Get("Sec-Websocket-Accept") != acceptKey(key), len(h["Sec-Websocket-Extensions"]) > 0,
		len(protocol) > 1, len(protocol) == 1 && !slices.Contains(protocols, protocol[0]):
		return errors.New("ComfyUI's answer to a WebSocket handshake is not valid")
	}
	return nil
}

// takeOver takes the client's connection out of net/http and completes the
// handshake. early is what the client has sent behind its own.
func takeOver(w http.ResponseWriter, accept, protocol string, limit time.Duration) (conn net.Conn, early []byte, err error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + "\r\n")
	if protocol != "" {
		b.WriteString("Sec-WebSocket-Protocol: " + protocol + "\r\n")
	}
	own := w.Header().Clone() // what the gate has set: request id, a renewed cookie
	for name := range own {
		if connectionOnly[name] || strings.HasPrefix(name, "Content-") || strings.HasPrefix(name, "Sec-Websocket-") {
			delete(own, name)
		}
	}
	own.Write(&b) // a bytes.Buffer never fails
	b.WriteString("\r\n")
	conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write(b.Bytes()); err != nil {
		conn.Close()
		return nil, nil, err
	}
	conn.SetDeadline(time.Time{})
	return conn, buffered(rw.Reader), nil
}

// buffered takes what a reader has read ahead, so that the reader can go.
func buffered(br *bufio.Reader) []byte {
	n := br.Buffered()
	if n == 0 {
		return nil
	}
	b, _ := br.Peek(n) // they are there
	return bytes.Clone(b)
}
