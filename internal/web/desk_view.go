package web

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"rsc.io/qr"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
)

// What the API and the pages say of things, without any secret. Times are
// RFC 3339 in UTC, "" for never.

type sessionView struct {
	ID      string `json:"id"`
	User    string `json:"user"` // ID; "" for guests
	Name    string `json:"name"`
	Role    string `json:"role"`
	Device  string `json:"device"`
	Address string `json:"address"`
	Created string `json:"created"`
	Seen    string `json:"seen"`
	Expires string `json:"expires"`
	Current bool   `json:"current"` // the one that asks
}

func viewSession(s *account.Session, who account.Principal) sessionView {
	return sessionView{s.Hash, s.UserID, s.Name, s.Role.String(), device(s.Agent), s.Address, stamp(s.CreatedAt), stamp(s.SeenAt), stamp(s.ExpiresAt), s.Hash == who.Ref}
}

type tokenView struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	User     string `json:"user"`
	Role     string `json:"role"`
	Kind     string `json:"kind"` // "api", or "browser"
	Created  string `json:"created"`
	Expires  string `json:"expires"`
	Used     string `json:"used"`
	UsedFrom string `json:"used_from"`
}

func viewToken(t *account.Token) tokenView {
	return tokenView{t.ID, t.Name, t.UserID, t.Grant(), t.Kind, stamp(t.CreatedAt), stamp(t.ExpiresAt), stamp(t.UsedAt), t.UsedFrom}
}

type personView struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Role     string `json:"role"`
	Created  string `json:"created"`
	Seen     string `json:"seen"`
	Disabled bool   `json:"disabled"`
	Invited  bool   `json:"invited"` // has not chosen a password yet
}

func viewPerson(p *account.Person) personView {
	return personView{p.ID, p.Name, p.Role.String(), stamp(p.CreatedAt), stamp(p.SeenAt), p.Disabled(), p.Password == ""}
}

type linkView struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	Role    string `json:"role"`
	User    string `json:"user"`
	Note    string `json:"note"`
	MadeBy  string `json:"made_by"`
	Created string `json:"created"`
	Expires string `json:"expires"`
	Uses    int    `json:"uses"` // left; a guest link: runs
}

func viewLink(l *account.Link) linkView {
	return linkView{l.ID, string(l.Kind), l.Role.String(), l.UserID, l.Name, l.MadeBy, stamp(l.CreatedAt), stamp(l.ExpiresAt), l.Uses}
}

type eventView struct {
	ID      int64  `json:"id"`
	Time    string `json:"time"`
	Kind    string `json:"kind"`
	Who     string `json:"who"`
	Name    string `json:"name"`
	Address string `json:"address"`
	Detail  string `json:"detail"`
}

func viewEvent(e audit.Event) eventView {
	return eventView{e.ID, stamp(e.Time), string(e.Kind), e.Principal, e.Name, e.Address, e.Detail}
}

// made is a token or link that was just made: the one time that it is shown.
type made struct {
	Title   string        `json:"-"`
	Text    string        `json:"-"`
	What    string        `json:"-"` // "token" or "link"
	Back    string        `json:"-"`
	QR      template.HTML `json:"-"`
	ID      string        `json:"id"`
	Kind    string        `json:"kind,omitempty"`
	Role    string        `json:"role"`
	Value   string        `json:"value"` // the token, or the link's address
	Expires string        `json:"expires"`
}

func asMade(result any, into *made) bool {
	m, ok := result.(made)
	if ok {
		*into = m
	}
	return ok
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// ago says how long ago, or in how long, a stamp is.
func ago(s string) string {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return "never"
	}
	d := time.Since(t)
	form := "%s ago"
	if d < 0 {
		d, form = -d+time.Minute/2, "in %s" // what was made for 30 days just now ends in 30
	}
	switch {
	case d < time.Minute:
		return map[bool]string{true: "now", false: "in a moment"}[form == "%s ago"]
	case d < time.Hour:
		return fmt.Sprintf(form, plural(int(d/time.Minute), "minute"))
	case d < 48*time.Hour:
		return fmt.Sprintf(form, plural(int(d/time.Hour), "hour"))
	}
	return fmt.Sprintf(form, plural(int(d/(24*time.Hour)), "day"))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// device makes a User-Agent readable: "Firefox on Linux". Where it cannot, it
// gives what the program calls itself.
func device(agent string) string {
	find := func(pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if strings.Contains(agent, pairs[i]) {
				return pairs[i+1]
			}
		}
		return ""
	}
	program := find("Edg/", "Edge", "OPR/", "Opera", "Firefox/", "Firefox", "FxiOS/", "Firefox", "HeadlessChrome/", "Chrome", "CriOS/", "Chrome", "Chrome/", "Chrome", "Safari/", "Safari")
	system := find("iPhone", "iPhone", "iPad", "iPad", "Android", "Android", "Windows", "Windows", "Mac OS X", "macOS", "CrOS", "ChromeOS", "Linux", "Linux")
	switch {
	case program != "" && system != "":
		return program + " on " + system
	case program != "":
		return program
	case agent == "":
		return "unknown device"
	}
	name, _, _ := strings.Cut(agent, " ")
	return cutText(name, 40)
}

// grant says what a token may, for people.
func grant(word string) string {
	switch word {
	case "read":
		return "look and watch (read)"
	case "run":
		return "generate and fetch (run)"
	case "user":
		return "all that a user may (user)"
	case "admin":
		return "administer everything (admin)"
	}
	return "look and generate (" + word + ")"
}

// gigabytes writes bytes for people.
func gigabytes(n int64) string { return fmt.Sprintf("%.1f GB", float64(n)/(1<<30)) }

const quietZone = 4 // modules around a code, as ISO/IEC 18004 asks

// qrCode draws a text as inline SVG: dark modules on a white ground. Empty
// where it is too long for one.
func qrCode(text string) template.HTML {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return ""
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			run := x
			for run < code.Size && code.Black(run, y) {
				run++
			}
			if n := run - x; n > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quietZone, y+quietZone, n, n)
				x = run
			}
		}
	}
	size := code.Size + 2*quietZone
	return template.HTML(fmt.Sprintf(`<svg class="qr" viewBox="0 0 %d %d" role="img" aria-label="QR code of the address" shape-rendering="crispEdges"><rect width="%d" height="%d" fill="#fff"/><path d="%s" fill="#000"/></svg>`,
		size, size, size, size, path.String())) // numbers only
}
