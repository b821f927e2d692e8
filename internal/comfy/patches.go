package comfy

import (
	"strconv"
	"strings"
)

// Patch is a published hole of ComfyUI or of ComfyUI-Manager that the gate
// stops, whatever version stands behind it.
type Patch struct {
	CVE   string
	Of    string // "ComfyUI" or "ComfyUI-Manager"
	What  string // what an attacker can do without the gate
	Since string // the version before which it is not there, "" for always
	Fixed string // the version from which on it is closed, "" where none is known
	Stops string // what in the gate stops it
}

// Patches are all that are known. The versions are those that were seen: where
// nobody has said which version closes a hole, none stands here.
var Patches = []Patch{
	{CVE: "CVE-2024-10099", Of: "ComfyUI", What: "an uploaded page or SVG runs scripts when it is looked at",
		Stops: "files of people are shown in a sandbox, and downloaded where a browser would run them"},
	{CVE: "CVE-2025-67303", Of: "ComfyUI-Manager", What: "its configuration can be read and written through /userdata",
		Stops: "that folder of /userdata is for administrators"},
	{CVE: "CVE-2026-22777", Of: "ComfyUI-Manager", What: "a line break in a query writes lines of its configuration",
		Stops: "control characters in an address are refused, and Manager is for administrators"},
	{CVE: "CVE-2026-56670", Of: "ComfyUI", What: "/view shows active content as a page of ComfyUI's own",
		Stops: "files of people are shown in a sandbox, and downloaded where a browser would run them"},
	{CVE: "CVE-2026-56671", Of: "ComfyUI", What: "the model preview gives out pictures of any folder",
		Stops: "paths with dots, slashes or backslashes hidden in a name are refused"},
	{CVE: "CVE-2026-56672", Of: "ComfyUI", What: "/userdata shows active content as a page of ComfyUI's own",
		Stops: "files of people are shown in a sandbox, and downloaded where a browser would run them"},
	{CVE: "CVE-2026-56673", Of: "ComfyUI", What: "a prompt's loader reads files outside ComfyUI's folders", Fixed: "0.28",
		Stops: "every name that a prompt gives to a loader is checked"},
	{CVE: "CVE-2026-56674", Of: "ComfyUI", What: "a foreign page acts through the browser with \"Origin: null\"",
		Stops: "what changes something must come from a page of the gate's own"},
	{CVE: "CVE-2026-68771", Of: "ComfyUI", What: "a data set that is loaded for training runs code", Since: "0.3.65",
		Stops: "LoadTrainingDataset and the upload of pickles are for administrators"},
}

// Unpatched are the holes that a version of ComfyUI still has, or may have.
// ComfyUI does not tell which ComfyUI-Manager it has, so those all count.
func Unpatched(version string) []Patch {
	var open []Patch
	known := len(numbers(version)) > 0
	for _, p := range Patches {
		if known && p.Of == "ComfyUI" && (p.Fixed != "" && !older(version, p.Fixed) || p.Since != "" && older(version, p.Since)) {
			continue
		}
		open = append(open, p)
	}
	return open
}

// older compares versions by their numbers: 0.3.64, 0.24, 0.28.1.
func older(a, b string) bool {
	x, y := numbers(a), numbers(b)
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return len(x) < len(y)
}

func numbers(version string) []int {
	var all []int
	for part := range strings.SplitSeq(strings.TrimPrefix(version, "v"), ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			break
		}
		all = append(all, n)
	}
	return all
}
