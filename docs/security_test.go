package docs

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"comfylatch/internal/comfy"
)

const patchesHead = "| hole | what it is without the gate | closed in | what stops it here |\n|---|---|---|---|\n"

// The table of security.md is written from the one that doctor reads:
// go test ./docs -update
func TestSecurityPageHasThePatches(t *testing.T) {
	page := read(t, "security.md")
	got := between(t, page, patchesHead, "\n\n")
	var b strings.Builder
	for _, p := range comfy.Patches {
		fixed := "not known"
		if p.Fixed != "" {
			fixed = p.Of + " " + p.Fixed
		}
		if p.Of != "ComfyUI" {
			fixed = "a newer " + p.Of
		}
		fmt.Fprintf(&b, "| %s | %s: %s | %s | %s |\n", p.CVE, p.Of, p.What, fixed, p.Stops)
	}
	want := strings.TrimSuffix(b.String(), "\n")
	if *update {
		if err := os.WriteFile("security.md", []byte(strings.Replace(page, got, patchesHead+want, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if strings.TrimPrefix(got, patchesHead) != want {
		t.Error("the table of security.md is not that of internal/comfy/patches.go: run go test ./docs -update")
	}
}
