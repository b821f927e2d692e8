package proxy

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// A header has one spelling: what is read is written back the same.
func FuzzFrameHeader(f *testing.F) {
	for _, seed := range [][]byte{
		{0x81, 0x05}, {0x82, 0x7e, 0x01, 0x00}, {0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0}, {0x89, 0x80, 1, 2, 3, 4},
		{0x88, 0x02, 3, 232}, {0x01, 0xff}, {0xff, 0xff, 0xff}, []byte("GET / HTTP/1.1"), {},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := parseFrameHeader(b)
		if err != nil || n == 0 {
			if err == nil && len(b) >= maxFrameHeader {
				t.Fatalf("%d bytes are said to be too few", len(b))
			}
			return
		}
		if got := appendFrameHeader(nil, h); !bytes.Equal(got, b[:n]) {
			t.Fatalf("%x was read as %+v and written as %x", b[:n], h, got)
		}
		for short := range n {
			if _, m, err := parseFrameHeader(b[:short]); m != 0 || err != nil {
				t.Fatalf("the first %d bytes of %x gave %d, %v", short, b[:n], m, err)
			}
		}
	})
}

// Whatever a client sends, ComfyUI gets a part of it from its start, in whole
// frames but for the last, without our pongs, and nothing after a close.
func FuzzRelay(f *testing.F) {
	c := &wire{client: true}
	f.Add(c.frame(true, opText, "hello"), 1)
	f.Add(append(c.frame(false, opText, "he"), c.frame(true, opContinuation, "llo")...), 3)
	f.Add(append(c.frame(true, opPing, "x"), c.frame(true, opPong, "\x00\x00\x00\x00\x00\x00\x00\x00")...), 7)
	f.Add(append(c.frame(true, opClose, "\x03\xe8"), c.frame(true, opText, "after")...), 100)
	f.Add(c.frame(true, opBinary, string(make([]byte, 70_000))), 500)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 2)
	f.Fuzz(func(t *testing.T, sent []byte, step int) {
		from, fromEnd := net.Pipe()
		to, toEnd := net.Pipe()
		s := &socket{client: clientLeg(from, nil, time.Minute), server: serverLeg(to, nil, time.Minute)}
		go func() {
			for rest := sent; len(rest) > 0; {
				n := min(max(step, 1, len(sent)/500), len(rest))
				if _, err := fromEnd.Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
			fromEnd.Close()
		}()
		got := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(toEnd)
			got <- b
		}()
		err := s.pump(s.client, s.server)
		from.Close()
		to.Close()
		checkRelayed(t, sent, <-got, err)
	})
}

func checkRelayed(t *testing.T, sent, got []byte, err error) {
	var want []byte
	var seq sequence
	for rest := sent; ; {
		h, n, bad := parseFrameHeader(rest)
		if bad != nil || n == 0 || !h.masked || seq.next(h) != nil {
			break
		}
		size := uint64(len(rest))
		whole := h.length <= size-uint64(n)
		if whole {
			size = uint64(n) + h.length
		} else if h.control() {
			break // passed on as a whole or not at all
		}
		payload := bytes.Clone(rest[n:size])
		unmask(payload, h.mask)
		if h.op != opPong || !bytes.Equal(payload, make([]byte, 8)) {
			want = append(want, rest[:size]...)
		}
		if !whole {
			break
		}
		rest = rest[size:]
		if h.op == opClose {
			if err != errPassedClose {
				t.Fatalf("after a close came %v", err)
			}
			break
		}
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("of %x\ncame     %x\nexpected %x", sent, got, want)
	}
}
