package web

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	maxOwnPage  = 1 << 20     // bytes of a login.html
	maxOwnShown = 4 << 20     // bytes of what it makes
	ownPageAge  = time.Second // how long it is used before the file is read again
)

// ownPage is the owner's own login page, login.html in the state folder. It is
// read again when it has changed, and whatever is wrong with it is told in the
// log, once for each change, while the built-in page is shown.
type ownPage struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	read   time.Time // when the file was looked at last
	source []byte    // of the page as it was then; nil: there is none
	page   *template.Template
	told   string // the reason that stands in the log already
}

func newOwnPage(path string, log *slog.Logger) *ownPage {
	return &ownPage{path: path, log: log}
}

// render gives the page, or nil where the built-in one must be shown.
func (o *ownPage) render(p LoginPage) io.WriterTo {
	if o.path == "" {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); now.Sub(o.read) >= ownPageAge || now.Before(o.read) {
		o.read = now
		o.reload()
	}
	if o.page == nil {
		return nil
	}
	body, err := o.show(p)
	if err != nil {
		o.page = nil // until the file changes
		o.complain(err)
		return nil
	}
	if body == nil {
		return nil
	}
	return bytes.NewReader(body)
}

// reload reads the file, and its template if the file has changed.
func (o *ownPage) reload() {
	source, err := readOwnPage(o.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		o.source, o.page, o.told = nil, nil, ""
		return
	case err != nil:
		o.source, o.page = nil, nil
		o.complain(err)
		return
	case o.source != nil && bytes.Equal(source, o.source):
		return
	}
	o.source, o.told = source, ""
	if o.page, err = parseOwnPage(source); err == nil {
		_, err = o.show(LoginPage{Next: "/"})
	}
	if err != nil {
		o.page = nil
		o.complain(err)
		return
	}
	o.log.Info("the login page is the one in the state folder", "file", o.path)
}

func (o *ownPage) complain(err error) {
	if reason := err.Error(); reason != o.told {
		o.told = reason
		o.log.Error("login.html is broken, so the built-in login page is shown: mend the file or delete it", "file", o.path, "reason", reason)
	}
}

// readOwnPage reads a regular file of at most maxOwnPage bytes.
func readOwnPage(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a file")
	}
	if info.Size() > maxOwnPage {
		return nil, fmt.Errorf("it is larger than %d bytes", maxOwnPage)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxOwnPage))
}

// oldStyle is the address of ComfyUI-Login's style sheet, which went with it.
var oldStyle = regexp.MustCompile(`(\./|/)?old_css/style\.css`)

// parseOwnPage reads a login.html, in Go's template language or in the part of
// Jinja's that ComfyUI-Login's pages use.
func parseOwnPage(source []byte) (*template.Template, error) {
	text := oldStyle.ReplaceAllLiteralString(string(source), "/_latch/static/old.css")
	if isJinja(text) {
		var err error
		if text, err = fromJinja(text); err != nil {
			return nil, err
		}
	}
	return template.New("login.html").Parse(text)
}

// show makes the page and completes what it lacks. Nil: it has no place for
// the one-time code that is needed now.
func (o *ownPage) show(p LoginPage) ([]byte, error) {
	b := cappedBuffer{left: maxOwnShown}
	if err := o.page.Execute(&b, p); err != nil {
		return nil, err
	}
	body := b.Bytes()
	if !bytes.Contains(body, []byte("password")) {
		return nil, errors.New("it has no password field")
	}
	if p.CodeNeeded && !hasField(body, "code") {
		return nil, nil
	}
	return complete(body, o.source, p), nil
}

var (
	formTag = regexp.MustCompile(`(?i)<form\b[^>]*>`)
	ownsWho = regexp.MustCompile(`wrong_password|\.WrongPassword`)
)

// complete puts into the page's first form what pages written for
// ComfyUI-Login have no place for: the reason of a refusal, and the way back.
func complete(body, source []byte, p LoginPage) []byte {
	var add bytes.Buffer
	saysWrong := p.WrongPassword && ownsWho.Match(source)
	if reason := template.HTMLEscapeString(p.Error); reason != "" && !saysWrong && !bytes.Contains(body, []byte(reason)) {
		fmt.Fprintf(&add, `<p role="alert" style="color:#ff8080">%s</p>`, reason)
	}
	if !hasField(body, "next") {
		fmt.Fprintf(&add, `<input type="hidden" name="next" value="%s">`, template.HTMLEscapeString(p.Next))
	}
	at := formTag.FindIndex(body)
	if at == nil || add.Len() == 0 {
		return body
	}
	return bytes.Join([][]byte{body[:at[1]], add.Bytes(), body[at[1]:]}, nil)
}

func hasField(body []byte, name string) bool {
	text := string(body)
	return strings.Contains(text, `name="`+name+`"`) || strings.Contains(text, `name='`+name+`'`) || strings.Contains(text, `name=`+name)
}

// cappedBuffer refuses to grow beyond what a page can sensibly be.
type cappedBuffer struct {
	bytes.Buffer
	left int
}

func (b *cappedBuffer) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errors.New("the page it makes is too large")
	}
	return b.Buffer.Write(p)
}
