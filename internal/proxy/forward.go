package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"comfylatch/internal/account"
	"comfylatch/internal/comfy"
)

// forward passes an ordinary request through.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request, req *comfy.Request, who account.Principal) {
	ctx := r.Context()
	if hasBody(r) { // ends with the handler, so that nothing reads it after
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
	}
	out, body, err := p.outRequest(ctx, w, r, req)
	if err != nil {
		refuseHeaders(w)
		return
	}
	defer body.Close()
	res, err := p.roundTrip(out, req)
	if err != nil {
		if end := body.ended(); end != nil && end != io.EOF {
			err = end // a client that stands still or goes away ends its context, too
		}
		p.fail(w, r, req, err)
		return
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 599 {
		// 101 among them: nobody asked for another protocol.
		p.fail(w, r, req, errors.New("ComfyUI answered with status "+strconv.Itoa(res.StatusCode)))
		return
	}
	if body.ended() == nil {
		// ComfyUI refuses an upload before it has ended (413): pass that on at
		// once, and do not read the rest to keep the connection.
		_ = http.NewResponseController(w).EnableFullDuplex() // over HTTP/2 it is always so
		hangUp(w, r)
	}
	p.answer(w, req, who, res)
}

// outRequest writes the request that goes upstream. The body, if there is
// one, must be closed before the handler ends.
func (p *Proxy) outRequest(ctx context.Context, w http.ResponseWriter, r *http.Request, req *comfy.Request) (*http.Request, *movingBody, error) {
	h, err := outHeader(r.Header, p.opts.OurCookie)
	if err != nil {
		return nil, nil, err
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = noAgent // or net/http would write its own
	}
	path, query, _ := strings.Cut(req.Target(), "?")
	out := (&http.Request{
		Method: req.Method,
		// Opaque goes into the request line as it is: "%2F" stays "%2F".
		URL:        &url.URL{Opaque: path, RawQuery: query},
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     h,
	}).WithContext(ctx)
	if !hasBody(r) {
		return out, nil, nil
	}
	body := &movingBody{r: r.Body, ctl: http.NewResponseController(w), idle: p.times.Body, left: r.ContentLength}
	out.Body, out.ContentLength = body, r.ContentLength
	return out, body, nil
}

var noAgent = []string{""}

func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// answer passes ComfyUI's answer to the client.
func (p *Proxy) answer(w http.ResponseWriter, req *comfy.Request, who account.Principal, res *http.Response) {
	h := w.Header()
	inHeader(h, res.Header, p.opts.OurCookie)
	if p.opts.Adjust != nil {
		p.opts.Adjust(req, who, res.StatusCode, h)
	}
	noBody := req.Method == http.MethodHead || res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified
	switch {
	case res.StatusCode == http.StatusNoContent:
		h.Del("Content-Length")
	case res.ContentLength >= 0 && !noBody && len(h["Content-Length"]) == 0:
		h.Set("Content-Length", strconv.FormatInt(res.ContentLength, 10))
	}
	if _, ok := h["Content-Type"]; !ok && !noBody {
		h["Content-Type"] = nil // ComfyUI named none: net/http must not guess one
	}
	w.WriteHeader(res.StatusCode)
	if noBody {
		return
	}
	to := &toClient{w: w, ctl: http.NewResponseController(w), patience: p.times.Body, flush: res.ContentLength < 0}
	if err := to.copy(res.Body); err != nil {
		p.log.Debug("answer was cut off", "path", req.Path(), "error", err)
		// The status is out already: only an aborted connection tells the
		// client that this is not all.
		panic(http.ErrAbortHandler)
	}
}

// toClient is where an answer's body goes. A client that takes nothing for too
// long is cut off; one that is slow may take all day.
type toClient struct {
	w        io.Writer
	ctl      *http.ResponseController
	patience time.Duration
	flush    bool // it may be a stream of events, so it is never held back
}

func (t *toClient) Write(b []byte) (int, error) {
	_ = t.ctl.SetWriteDeadline(time.Now().Add(t.patience))
	n, err := t.w.Write(b)
	if err == nil && t.flush {
		if err = t.ctl.Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	return n, err
}

// ReadFrom lets net/http, which knows the client's connection, move the middle
// of a large body inside the kernel.
func (t *toClient) ReadFrom(r io.Reader) (int64, error) {
	_ = t.ctl.SetWriteDeadline(time.Now().Add(t.patience))
	return io.Copy(t.w, r)
}

const chunk = 32 << 10

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// copy streams a body. One that comes over a plain connection has a buffer.
func (t *toClient) copy(body io.Reader) error {
	if from, ok := body.(io.WriterTo); ok {
		_, err := from.WriteTo(t)
		return err
	}
	buf := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buf)
	_, err := io.CopyBuffer(struct{ io.Writer }{t}, body, buf[:])
	return err
}
