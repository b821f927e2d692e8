package docs

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"comfylatch/internal/comfy"
)

var update = flag.Bool("update", false, "write roles.md anew from the table of routes")

// roles.md is written from the table that decides, so that it cannot say
// anything else: go test ./docs -update
func TestRolesPageIsTheTableOfRoutes(t *testing.T) {
	want := rolesPage()
	if *update {
		if err := os.WriteFile("roles.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, "roles.md"); got != want {
		t.Error("roles.md is not what the table of routes says: run go test ./docs -update")
	}
}

func rolesPage() string {
	var b strings.Builder
	b.WriteString(`# Who may do what

Every address of ComfyUI, and the least role that may use it. This page is written from the table that comfylatch itself decides by (` + "`internal/comfy/table.go`" + `).

| role | who |
|---|---|
| public | everybody, without a credential |
| guest | a [guest](guests.md), and everybody below |
| user | [people](people.md) with an account, and everybody below |
| admin | the owner, administrators, and the fixed API key |

A token has a role as well, never above its owner's. With ` + "`read`" + ` it may use what a user may, by GET and HEAD and on the WebSocket only. With ` + "`run`" + ` it may also use the lines from guest that change something, and those marked ▸.

An address that is not here is for administrators: custom nodes bring what they like. No ending or beginning of a path makes an exception. A CVE behind a line is a hole that its rule closes.
`)
	for _, part := range []struct {
		least comfy.Access
		title string
	}{
		{comfy.Public, "Public"}, {comfy.Guests, "From guest"}, {comfy.Users, "From user"}, {comfy.Admins, "Administrators only"},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| | address | |\n|---|---|---|\n", part.title)
		for _, r := range slices.Concat(comfy.Table, []comfy.Route{*comfy.Unknown}) {
			if r.Least == part.least {
				fmt.Fprintf(&b, "| %s | %s | %s |\n", methods(r), address(r), remarks(r))
			}
		}
	}
	b.WriteString("\n¹ Also with `/api` in front.\n")
	return b.String()
}

func methods(r comfy.Route) string {
	if r.Methods == "*" {
		return "any"
	}
	return r.Methods
}

func address(r comfy.Route) string {
	if r.Pattern == comfy.Unknown.Pattern {
		return "every other"
	}
	text := "`" + r.Pattern + "`"
	if !r.Plain && !strings.HasPrefix(r.Pattern, "/api/") {
		text += " ¹"
	}
	return text
}

// remarks is what a route touches, how guests are kept to what is theirs, and
// the report that its rule answers.
func remarks(r comfy.Route) string {
	text := r.Touches
	switch {
	case r.Pattern == "/system_stats": // says it itself
	case r.Answer == comfy.Own:
		text += "; guests: only what is theirs"
	case r.Answer == comfy.Blank:
		text += "; guests: as in a new ComfyUI"
	case r.Answer == comfy.Closed:
		text += "; refused for everybody"
	}
	if r.Run {
		text += " ▸"
	}
	if r.Stops != "" {
		text += " · " + r.Stops
	}
	return text
}
