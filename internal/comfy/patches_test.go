package comfy

import (
	"slices"
	"strings"
	"testing"
)

func TestUnpatchedNamesWhatAVersionStillHas(t *testing.T) {
	has := func(version, cve string) bool {
		return slices.ContainsFunc(Unpatched(version), func(p Patch) bool { return p.CVE == cve })
	}
	for _, c := range []struct {
		version, cve string
		want         bool
	}{
		{"0.3.64", "CVE-2026-56673", true}, {"0.24.0", "CVE-2026-56673", true}, {"v0.27.9", "CVE-2026-56673", true},
		{"0.28", "CVE-2026-56673", false}, {"0.28.0", "CVE-2026-56673", false}, {"1.0", "CVE-2026-56673", false},
		{"0.3.64", "CVE-2026-68771", false}, {"0.24.0", "CVE-2026-68771", true},
		{"0.28", "CVE-2026-56674", true}, {"0.28", "CVE-2025-67303", true},
	} {
		if got := has(c.version, c.cve); got != c.want {
			t.Errorf("ComfyUI %s has %s: %v, want %v", c.version, c.cve, got, c.want)
		}
	}
	if got := Unpatched("nightly"); len(got) != len(Patches) {
		t.Errorf("of a version that is not known %d holes are told, want all", len(got))
	}
}

// TestTheTableOfRoutesKnowsThePatches: a CVE that a route names is one of them.
func TestTheTableOfRoutesKnowsThePatches(t *testing.T) {
	for _, r := range Table {
		for name := range strings.SplitSeq(r.Stops, ", ") {
			if strings.HasPrefix(name, "CVE-") && !slices.ContainsFunc(Patches, func(p Patch) bool { return p.CVE == name }) {
				t.Errorf("%s stops %s, which is not among the patches", r.Pattern, name)
			}
		}
	}
}
