package upstream

import (
	"errors"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// errAnswer is wrapped by the error for an answer that is not plain HTTP/1.1.
// What two programs could read differently is refused, never repaired: what is
// left of such an answer could be taken for another visitor's.
var errAnswer = errors.New("ComfyUI's answer is not valid HTTP")

func badAnswer(why string) error { return &answerError{why} }

type answerError struct{ why string }

func (e *answerError) Error() string { return errAnswer.Error() + ": " + e.why }
func (e *answerError) Unwrap() error { return errAnswer }

// framing says where an answer's body ends.
type framing uint8

const (
	noBody framing = iota
	byLength
	byChunks
	byClose
)

// parseHead reads an answer's head (RFC 9112 sections 4 and 5) into res: all
// up to the empty line, each line with its CRLF. method is the request's. The
// header's values share head's memory.
func parseHead(head, method string, res *http.Response) (framing, error) {
	line, rest, _ := strings.Cut(head, "\r\n")
	if err := parseStatus(line, res); err != nil {
		return noBody, err
	}
	lines := strings.Count(rest, "\r\n")
	res.Header = make(http.Header, min(lines, 8))
	values := make([]string, lines)
	for i := range lines {
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		switch {
		case !ok, !isToken(name): // a folded line among them, and a space before the colon
			return noBody, badAnswer("a header line has no name")
		case !isText(value):
			return noBody, badAnswer("a header holds a control character")
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if before, again := res.Header[name]; again {
			res.Header[name] = append(before, strings.Trim(value, " \t"))
			continue
		}
		values[i] = strings.Trim(value, " \t")
		res.Header[name] = values[i : i+1 : i+1]
	}
	return frame(method, res)
}

// parseStatus reads "HTTP/1.1 200 OK".
func parseStatus(line string, res *http.Response) error {
	version, status, _ := strings.Cut(line, " ")
	switch version {
	case "HTTP/1.1":
		res.ProtoMinor = 1
	case "HTTP/1.0":
		res.ProtoMinor = 0
	default:
		return badAnswer("it is not HTTP/1.1")
	}
	code, _, _ := strings.Cut(status, " ")
	if len(code) != 3 || code[0] < '1' || !isDigits(code) || !isText(status) {
		return badAnswer("the status is not three digits")
	}
	res.StatusCode, _ = strconv.Atoi(code)
	res.Proto, res.ProtoMajor, res.Status = version, 1, status
	return nil
}

// frame finds out how the body is framed (RFC 9112 section 6.3). The headers
// that say so twice, or in a way that is not everybody's, are refused.
func frame(method string, res *http.Response) (framing, error) {
	h := res.Header
	res.Close = res.ProtoMinor == 0 || hasToken(h["Connection"], "close")
	encoding, lengths := h["Transfer-Encoding"], h["Content-Length"]
	res.ContentLength = -1
	if len(lengths) > 0 {
		n, err := strconv.ParseUint(lengths[0], 10, 63)
		if err != nil || !isDigits(lengths[0]) {
			return noBody, badAnswer("the Content-Length is not a number")
		}
		for _, again := range lengths[1:] {
			if again != lengths[0] {
				return noBody, badAnswer("there are two different Content-Lengths")
			}
		}
		h["Content-Length"] = lengths[:1]
		res.ContentLength = int64(n)
	}
	if len(encoding) > 0 {
		if len(encoding) > 1 || !strings.EqualFold(encoding[0], "chunked") || len(lengths) > 0 || res.ProtoMinor == 0 {
			return noBody, badAnswer("the Transfer-Encoding is not just chunked")
		}
		delete(h, "Transfer-Encoding")
		res.TransferEncoding = chunkedOnly
	}
	switch {
	case method == http.MethodHead:
		return noBody, nil
	case res.StatusCode < 200, res.StatusCode == http.StatusNoContent, res.StatusCode == http.StatusNotModified:
		res.ContentLength, res.TransferEncoding = 0, nil
		return noBody, nil
	case len(encoding) > 0:
		return byChunks, nil
	case res.ContentLength == 0:
		return noBody, nil
	case res.ContentLength > 0:
		return byLength, nil
	}
	res.Close = true
	return byClose, nil
}

var chunkedOnly = []string{"chunked"}

func hasToken(lines []string, want string) bool {
	for _, line := range lines {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.Trim(token, " \t"), want) {
				return true
			}
		}
	}
	return false
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// isText tells that a header's value or a reason holds no control character
// but tabs: no bare CR or LF, no NUL.
func isText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func isToken(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 || !tokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

// tokenByte are the bytes of a token (RFC 9110 section 5.6.2).
var tokenByte = func() (t [0x80]bool) {
	for c := range t {
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		t[c] = alnum || strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c))
	}
	return t
}()
