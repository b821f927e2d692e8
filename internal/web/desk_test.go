package web

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// description is what openapi.json says.
type description struct {
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Schemas map[string]struct {
			Properties map[string]any
		}
	}
}

func describe(t *testing.T) (d description) {
	t.Helper()
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenAPINamesEveryRouteAndNoOther(t *testing.T) {
	got := []string{}
	for path, methods := range describe(t).Paths {
		for method := range methods {
			got = append(got, strings.ToUpper(method)+" "+path)
		}
	}
	want := []string{"GET /me", "GET /openapi.json", "POST /browser-token"} // answered for strangers and guests too
	for _, o := range ops {
		want = append(want, o.method+" /"+o.path)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("openapi.json has\n%q, want\n%q", got, want)
	}
}

func TestOpenAPINamesEveryField(t *testing.T) {
	d := describe(t)
	for name, view := range map[string]any{"Session": sessionView{}, "Token": tokenView{}, "Person": personView{}, "Link": linkView{}, "Event": eventView{}, "Made": made{}, "Now": now{}} {
		var want []string
		for f := range reflect.TypeOf(view).Fields() {
			if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "-" {
				want = append(want, tag)
			}
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(d.Components.Schemas[name].Properties)); !slices.Equal(got, want) {
			t.Errorf("%s: openapi.json has %q, want %q", name, got, want)
		}
	}
}

func TestDevicesAreReadable(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                  "Firefox on Linux",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":           "Edge on Windows",
		"curl/8.5.0": "curl/8.5.0",
		"":           "unknown device",
	} {
		if got := device(agent); got != want {
			t.Errorf("device(%q) = %q, want %q", agent, got, want)
		}
	}
}

func TestSpreadsheetsRunNothing(t *testing.T) {
	for _, s := range []string{"=1+1", "+1", "-1", "@x", "\tx"} {
		if got := cell(s); got[0] != '\'' {
			t.Errorf("cell(%q) = %q", s, got)
		}
	}
	if got := cell("plain"); got != "plain" {
		t.Errorf("plain text became %q", got)
	}
}

func TestDeskIsClosedWhereThereIsNone(t *testing.T) {
	s := newSite(t, setUp())
	for _, path := range []string{"/_latch/account", "/_latch/admin", "/_latch/api/people", "/_latch/join?code=x"} {
		wantStatus(t, ask{target: path, who: owner}.to(t, s), http.StatusNotFound)
	}
}
