package proxy

import (
	"encoding/binary"
	"errors"
)

// The opcodes of RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// The status codes of RFC 6455 section 7.4.1 and the IANA registry that we send.
const (
	closeGoingAway  = 1001
	closeProtocol   = 1002
	closePolicy     = 1008
	closeInternal   = 1011
	closeRestart    = 1012
	closeTryLater   = 1013
	maxControl      = 125 // bytes of a control frame's payload
	maxFrameHeader  = 14
	minMaskedHeader = 6
)

// frameHeader is the header of one WebSocket frame.
type frameHeader struct {
	fin    bool
	op     byte
	masked bool
	mask   [4]byte
	length uint64 // of the payload, in bytes
}

func (h frameHeader) control() bool { return h.op&0x8 != 0 }

// errFrame is a breach of the protocol by the one who sent the frame.
var errFrame = errors.New("not a valid WebSocket frame")

// parseFrameHeader reads a frame header from the start of b. n is its size in
// bytes, 0 while b is too short. It accepts exactly one spelling of each
// header: no extension bits, known opcodes, the shortest length.
func parseFrameHeader(b []byte) (h frameHeader, n int, err error) {
	if len(b) < 2 {
		return h, 0, nil
	}
	h.fin, h.op, h.masked = b[0]&0x80 != 0, b[0]&0x0f, b[1]&0x80 != 0
	switch {
	case b[0]&0x70 != 0: // extensions were not agreed on
		return h, 0, errFrame
	case h.op > opBinary && h.op < opClose, h.op > opPong:
		return h, 0, errFrame
	case h.control() && (!h.fin || b[1]&0x7f > maxControl):
		return h, 0, errFrame
	}
	n = 2
	switch short := b[1] & 0x7f; short {
	case 126:
		if n += 2; len(b) < n {
			return h, 0, nil
		}
		h.length = uint64(binary.BigEndian.Uint16(b[2:]))
		if h.length < 126 {
			return h, 0, errFrame
		}
	case 127:
		if n += 8; len(b) < n {
			return h, 0, nil
		}
		h.length = binary.BigEndian.Uint64(b[2:])
		if h.length <= 0xffff || h.length>>63 != 0 {
			return h, 0, errFrame
		}
	default:
		h.length = uint64(short)
	}
	if h.masked {
		if n += 4; len(b) < n {
			return h, 0, nil
		}
		copy(h.mask[:], b[n-4:])
	}
	if h.op == opClose && h.length == 1 {
		return h, 0, errFrame
	}
	return h, n, nil
}

// appendFrameHeader writes h in its one spelling.
func appendFrameHeader(b []byte, h frameHeader) []byte {
	first, second := h.op, byte(0)
	if h.fin {
		first |= 0x80
	}
	if h.masked {
		second = 0x80
	}
	switch {
	case h.length < 126:
		b = append(b, first, second|byte(h.length))
	case h.length <= 0xffff:
		b = append(b, first, second|126)
		b = binary.BigEndian.AppendUint16(b, uint16(h.length))
	default:
		b = append(b, first, second|127)
		b = binary.BigEndian.AppendUint64(b, h.length)
	}
	if h.masked {
		b = append(b, h.mask[:]...)
	}
	return b
}

// controlFrame writes a whole control frame. Frames to a server are masked
// (RFC 6455 section 5.3); the key may be zero, since the payload is ours.
func controlFrame(op byte, payload []byte, toServer bool) []byte {
	b := make([]byte, 0, minMaskedHeader+len(payload))
	b = appendFrameHeader(b, frameHeader{fin: true, op: op, masked: toServer, length: uint64(len(payload))})
	return append(b, payload...)
}

func closePayload(code uint16, reason string) []byte {
	reason = reason[:min(len(reason), maxControl-2)]
	return append(binary.BigEndian.AppendUint16(nil, code), reason...)
}

func unmask(b []byte, mask [4]byte) {
	for i := range b {
		b[i] ^= mask[i&3]
	}
}

// sequence checks the order of one side's frames: a message may come in
// several frames, with only control frames between them.
type sequence struct{ open bool }

func (s *sequence) next(h frameHeader) error {
	if h.control() {
		return nil
	}
	if (h.op == opContinuation) != s.open {
		return errFrame
	}
	s.open = !h.fin
	return nil
}
