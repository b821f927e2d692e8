// Package docs tests the pages of this folder and the README: that they name
// every setting and no other, that their examples are read, and that their
// links lead somewhere.
package docs

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"comfylatch/internal/config"
)

// setting is a line of the table in configuration.md.
type setting struct{ flag, key, value string }

var (
	flagCell = regexp.MustCompile("^`--([a-z-]+)[^`]*`$")
	keyCell  = regexp.MustCompile("^`([^`]+)`$")
)

func settings(t *testing.T) []setting {
	t.Helper()
	table := between(t, read(t, "configuration.md"), "| flag |", "\n\n")
	var all []setting
	for _, line := range strings.Split(table, "\n")[2:] {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "/"), "|")
		if len(cells) != 6 {
			t.Fatalf("the line has %d cells, want 4: %s", len(cells)-2, line)
		}
		var s setting
		if m := flagCell.FindStringSubmatch(strings.TrimSpace(cells[1])); m != nil {
			s.flag = m[1]
		}
		if m := keyCell.FindStringSubmatch(strings.TrimSpace(cells[2])); m != nil {
			s.key = m[1]
		}
		if m := keyCell.FindStringSubmatch(strings.TrimSpace(cells[3])); m != nil {
			s.value = m[1]
		}
		all = append(all, s)
	}
	return all
}

func TestEveryFlagIsDocumented(t *testing.T) {
	var got []string
	for _, s := range settings(t) {
		if s.flag != "" {
			got = append(got, s.flag)
		}
	}
	wantSame(t, "flags", got, knownFlags(t))
}

func TestEveryKeyIsDocumented(t *testing.T) {
	var got []string
	for _, s := range settings(t) {
		if s.key != "" {
			got = append(got, s.key)
		}
	}
	wantSame(t, "keys of comfylatch.toml", got, knownKeys(t))
}

func TestDocumentedDefaultsAreTheDefaults(t *testing.T) {
	var text strings.Builder
	for _, s := range settings(t) {
		if s.value != "" {
			text.WriteString(s.key + " = " + s.value + "\n")
		}
	}
	got := readFile(t, text.String())
	want := config.Default()
	for _, c := range []*config.Config{&got, &want} {
		if err := c.Resolve("127.0.0.1:8189", func(string) string { return "/home" }); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the documented defaults are\n%+v, want\n%+v", got, want)
	}
}

func TestExampleConfigurationIsRead(t *testing.T) {
	example := between(t, read(t, "configuration.md"), "```toml\n", "```")
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("only-for-this-test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := readFile(t, strings.ReplaceAll(example, "/etc/comfylatch/key", filepath.ToSlash(key)))
	for _, problem := range c.Problems() {
		t.Error(problem)
	}
	if len(c.Listen) != 2 || len(c.TrustedProxies) != 2 || c.APIKey.Empty() {
		t.Errorf("the example was not read whole: %+v", c)
	}
}

// What stands behind these in the pages is ComfyUI's command, or a
// sub-command's own flag.
var subCommandFlags = []string{"role", "expires", "json", "help", "only-gate"}

func TestPagesUseOnlyKnownFlags(t *testing.T) {
	known := append(knownFlags(t), subCommandFlags...)
	command := regexp.MustCompile("(?m)(?:^|[ `(=]|/bin/)comfylatch( [^\n`|#]*)")
	word := regexp.MustCompile(`(?:^|\s)--([a-z][a-z-]*)`)
	for _, page := range pages(t) {
		for _, m := range command.FindAllStringSubmatch(read(t, page), -1) {
			own, _, _ := strings.Cut(m[1], " -- ")
			for _, f := range word.FindAllStringSubmatch(own, -1) {
				if !slices.Contains(known, f[1]) {
					t.Errorf("%s: comfylatch has no flag --%s: %q", page, f[1], m[0])
				}
			}
		}
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat("images"); err != nil && strings.Contains(target, "images/") {
				t.Logf("%s: the pictures have not been taken yet", m[1])
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: the link %s leads nowhere: %v", page, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(t, file), anchor) {
				t.Errorf("%s: %s has no heading #%s", page, file, anchor)
			}
		}
	}
}

func TestEveryPageIsLinkedFromReadme(t *testing.T) {
	readme := read(t, "../README.md")
	for _, page := range pages(t)[1:] {
		if !strings.Contains(readme, "(docs/"+page) {
			t.Errorf("README.md does not link to docs/%s", page)
		}
	}
}

// pages are README.md and the pages of this folder, from here.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	found = slices.DeleteFunc(found, func(p string) bool { return p == "design.md" })
	return append([]string{"../README.md"}, found...)
}

// anchors are the names of a page's headings, as links have them.
func anchors(t *testing.T, page string) []string {
	t.Helper()
	var all []string
	for _, line := range strings.Split(read(t, page), "\n") {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			name := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(heading)), " ", "-")
			all = append(all, regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(name, ""))
		}
	}
	return all
}

// knownFlags asks the flag set itself.
func knownFlags(t *testing.T) (names []string) {
	t.Helper()
	_, _, err := config.ReadWords(nil, nil, nobody(t), func(f *flag.FlagSet) {
		f.VisitAll(func(one *flag.Flag) { names = append(names, one.Name) })
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// knownKeys reads the tags of the struct that comfylatch.toml is decoded into.
func knownKeys(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../internal/config/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if f, ok := n.(*ast.Field); ok && f.Tag != nil {
				if key := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("toml"); key != "" {
					keys = append(keys, key)
				}
			}
			return true
		})
	}
	return keys
}

// nobody is an environment in which nothing is set.
func nobody(t *testing.T) config.Env {
	t.Helper()
	dir := t.TempDir()
	return config.Env{Workdir: dir, Getenv: func(name string) string {
		if name == "HOME" {
			return dir
		}
		return ""
	}}
}

func readFile(t *testing.T, text string) config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "comfylatch.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Read([]string{"--config", file}, nil, nobody(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantSame(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the documented %s are\n%q, want\n%q", what, got, want)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// between gives what stands in text from the start mark to the end mark.
func between(t *testing.T, text, start, end string) string {
	t.Helper()
	i := strings.Index(text, start)
	if i < 0 {
		t.Fatalf("there is no %q", start)
	}
	text = text[i:]
	if strings.HasPrefix(start, "```") {
		text = text[len(start):]
	}
	if j := strings.Index(text, end); j >= 0 {
		text = text[:j]
	}
	return text
}
