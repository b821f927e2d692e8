package upstream

import (
	"bytes"
	"io"
	"strconv"
)

// nextChunk reads the line before a chunk (RFC 9112 section 7.1). It gives
// io.EOF after the last one; trailers are read and dropped.
func (x *exchange) nextChunk() error {
	if x.begun {
		if end, err := x.line(); err != nil {
			return err
		} else if len(end) > 0 {
			return badAnswer("a chunk is longer than its size")
		}
	}
	x.begun = true
	line, err := x.line()
	if err != nil {
		return err
	}
	size, _, _ := bytes.Cut(line, []byte(";")) // extensions mean nothing to us
	if x.left, err = chunkSize(string(size)); err != nil || x.left > 0 {
		return err
	}
	for range maxTrail {
		if line, err = x.line(); err != nil {
			return err
		}
		if len(line) == 0 {
			return io.EOF
		}
	}
	return badAnswer("it has too many trailers")
}

// chunkSize reads hexadecimal digits and nothing else: no sign, no "0x", no
// "_", no space.
func chunkSize(s string) (int64, error) {
	for i := range len(s) {
		if c := s[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return 0, badAnswer("a chunk's size is not a number")
		}
	}
	n, err := strconv.ParseUint(s, 16, 63)
	if err != nil {
		return 0, badAnswer("a chunk's size is not a number")
	}
	return int64(n), nil
}

// line reads up to CRLF. It is valid until the next read.
func (x *exchange) line() ([]byte, error) {
	for {
		b := x.buf[x.at:x.n]
		i := bytes.IndexByte(b, '\n')
		if i > maxLine || i < 0 && len(b) > maxLine {
			return nil, badAnswer("a chunk's line is too long")
		}
		if i >= 0 {
			if i == 0 || b[i-1] != '\r' || !isText(string(b[:i-1])) {
				return nil, badAnswer("a chunk's line does not end as it must")
			}
			x.at += i + 1
			return b[:i-1], nil
		}
		x.n = copy(x.buf, b)
		x.at = 0
		if err := x.fill(); err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		} else if err != nil {
			return nil, err
		}
	}
}
