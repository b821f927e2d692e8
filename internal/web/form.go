package web

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"
	"unicode/utf8"

	"comfylatch/internal/account"
)

const (
	maxForm = 64 << 10 // bytes of a form or JSON body of ours
	maxText = 1000     // bytes of a field that is not the password
)

// form is what the login and API-key forms send.
type form struct {
	Name, Password string
	Code           string // one-time set-up code
	Key            string // API key or token, in place of a password
	Next           string // safe
	Guest          bool   // the guest button
	Remember       bool   // of a key
}

// readForm reads a login form. Every error is a fault, told to the visitor;
// the password is not checked yet, and nothing is hashed before all is well.
func readForm(w http.ResponseWriter, r *http.Request, v Visit) (form, error) {
	if err := sameSite(r, v.Host); err != nil {
		return form{}, err
	}
	fields, err := readFields(w, r)
	if err != nil {
		return form{}, err
	}
	for _, name := range []string{"username", "password", "code", "api_key", "guest_mode"} {
		if len(fields[name]) > 1 {
			return form{}, bad("The form has the field %q twice.", name)
		}
		if !utf8.ValidString(fields.Get(name)) {
			return form{}, bad("The form has text that is not valid UTF-8.")
		}
		if name != "password" && len(fields.Get(name)) > maxText {
			return form{}, bad("The field %q is too long.", name)
		}
	}
	return form{
		Name:     fields.Get("username"),
		Password: fields.Get("password"),
		Code:     strings.TrimSpace(fields.Get("code")),
		Key:      strings.TrimSpace(fields.Get("api_key")),
		Next:     SafeNext(fields.Get("next")),
		Guest:    fields.Get("guest_mode") == "1",
		Remember: fields.Get("remember") != "",
	}, nil
}

// checkPassword refuses, before anything is hashed, what cannot be a password.
func checkPassword(password string) error {
	switch {
	case password == "":
		return bad("Please enter your password.")
	case len(password) > account.MaxPassword:
		return bad("The password is too long: at most %d bytes.", account.MaxPassword)
	}
	return nil
}

// readFields reads a form body of either kind, up to maxForm bytes.
func readFields(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if err := limitBody(w, r); err != nil {
		return nil, err
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, fault{status: http.StatusUnsupportedMediaType, text: "Please send an HTML form."}
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		body, err := readAll(r)
		if err != nil {
			return nil, err
		}
		fields, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, bad("The form is malformed.")
		}
		return fields, nil
	case "multipart/form-data":
		return readParts(multipart.NewReader(r.Body, params["boundary"]))
	}
	return nil, fault{status: http.StatusUnsupportedMediaType, text: "Please send an HTML form."}
}

// readParts reads a multipart form; a file in it is no field of ours.
func readParts(m *multipart.Reader) (url.Values, error) {
	f, err := m.ReadForm(maxForm)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, large
	case errors.Is(err, multipart.ErrMessageTooLarge):
		return nil, &http.MaxBytesError{Limit: maxForm}
	case err != nil:
		return nil, bad("The form is malformed.")
	}
	defer f.RemoveAll()
	return f.Value, nil
}

// limitBody refuses a body that is too large or compressed, as far as its
// header tells, and cuts it off at maxForm bytes.
func limitBody(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Content-Encoding") != "" {
		return fault{status: http.StatusUnsupportedMediaType, text: "Please send the form uncompressed."}
	}
	if r.ContentLength > maxForm {
		w.Header().Set("Connection", "close") // the rest is not read
		return &http.MaxBytesError{Limit: maxForm}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	return nil
}

// sameSite refuses a form that another site's page has sent, as far as the
// browser says so: nobody is logged in as somebody else behind their back.
func sameSite(r *http.Request, host string) error {
	refused := fault{status: http.StatusForbidden, text: "This form came from another site. Please open the page itself and try again."}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return nil
	case "":
	default:
		return refused
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil // not a browser, or an old one
	}
	u, err := url.Parse(origin)
	if err != nil || !strings.EqualFold(u.Host, host) {
		return refused
	}
	return nil
}

func bad(format string, a ...any) error {
	return fault{status: http.StatusBadRequest, text: fmt.Sprintf(format, a...)}
}

func readAll(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, large
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fault{status: http.StatusRequestTimeout, text: "The form did not arrive in time."}
	case err != nil:
		return nil, bad("The form did not arrive whole.")
	}
	return body, nil
}
