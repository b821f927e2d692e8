// Package internal_test holds what no room can test by itself: in which order
// rooms may import one another, and that every known attack has its test.
package internal_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms are the packages in the order in which they may import one another:
// a room only those of a floor above its own.
var rooms = [][]string{
	{"account", "comfy", "standin", "cache"},
	{"config", "policy", "throttle", "isolate"},
	{"audit"},
	{"store", "session"},
	{"login", "upstream"},
	{"people"},
	{"proxy", "web", "incognito"},
	{"server"},
}

func TestRoomsImportInOneDirection(t *testing.T) {
	floor := make(map[string]int)
	for i, names := range rooms {
		for _, name := range names {
			floor[name] = i
		}
	}
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "comfylatch/...").Output()
	if err != nil {
		t.Fatalf("list the packages: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name, ours := strings.CutPrefix(fields[0], "comfylatch/internal/")
		if !ours || strings.HasPrefix(name, "store/") || name == "browsertest" {
			continue
		}
		if _, known := floor[name]; !known {
			t.Errorf("room %s has no floor yet: say where it stands", name)
		}
		for _, imp := range fields[1:] {
			dep, ours := strings.CutPrefix(imp, "comfylatch/internal/")
			if !ours {
				continue
			}
			if floor[dep] >= floor[name] {
				t.Errorf("%s imports %s, which does not stand above it", name, dep)
			}
			if slices.Contains([]string{"store", "config"}, dep) {
				t.Errorf("%s imports %s: only the command knows it", name, dep)
			}
		}
	}
}
