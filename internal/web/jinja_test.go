package web

import (
	"html/template"
	"strings"
	"testing"
)

func TestJinjaTranslation(t *testing.T) {
	p := LoginPage{Username: "A<b", WrongPassword: true, GuestMode: true, Wait: 3}
	for name, tc := range map[string]struct{ source, want string }{
		"output":           {"{{ username }}|{{username}}|{{- username -}} |", "A&lt;b|A&lt;b|A&lt;b|"},
		"escape filter":    {"{{ username|e }}{{ username | escape }}", "A&lt;bA&lt;b"},
		"unknown is empty": {"[{{ nobody }}]{% if nobody %}x{% endif %}", "[]"},
		"if":               {"{% if wrong_password %}a{% else %}b{% endif %}", "a"},
		"elif":             {"{% if first_time %}a{% elif guest_mode %}b{% else %}c{% endif %}", "b"},
		"and or not":       {"{% if not first_time and (wrong_password or first_time) %}a{% endif %}", "a"},
		"precedence":       {"{% if guest_mode or first_time and first_time %}a{% endif %}", "a"},
		"not binds first":  {"{% if not first_time or first_time %}a{% endif %}", "a"},
		"trimmed":          {"a {%- if guest_mode -%} b {%- endif -%} c", "abc"},
		"comment":          {"a{# */ {{ x }} \n {% y %} #}b", "ab"},
		"constants":        {"{% if true and not none %}a{% endif %}", "a"},
		"lone braces":      {"{ } {a} {% if guest_mode %}{ {% endif %}{", "{ } {a} { {"},
		"over lines":       {"{% if\n guest_mode\n and wrong_password %}a{% endif %}", "a"},
		"in an attribute":  {`<p title="{{ username }}" {% if guest_mode %}hidden{% endif %}>`, `<p title="A&lt;b" hidden>`},
		"in a script":      {`<script>var n = "{{ username }}"</script>`, `<script>var n = "A\u003cb"</script>`},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := fromJinja(tc.source)
			if err != nil {
				t.Fatal(err)
			}
			tmpl, err := template.New("").Parse(text)
			if err != nil {
				t.Fatalf("%v in %s", err, text)
			}
			var b strings.Builder
			if err := tmpl.Execute(&b, p); err != nil {
				t.Fatal(err)
			}
			if b.String() != tc.want {
				t.Errorf("got %q, want %q (%s)", b.String(), tc.want, text)
			}
		})
	}
}

func TestJinjaErrorsNameTheLine(t *testing.T) {
	for source, want := range map[string]string{
		"\n\n{% for a in b %}":               `line 3: the tag "for" is not known here`,
		"{% if a == 1 %}{% endif %}":         `line 1: the expression "a == 1" is not known here`,
		"{# \n #}\n{{ username|upper }}":     `line 3: the filter "upper" is not known here`,
		"{% if %}{% endif %}":                "line 1: the expression is not complete",
		"{% if (username %}{% endif %}":      "line 1: a closing parenthesis is missing",
		"{% if username guest %}{% endif %}": `line 1: "guest" is not expected there`,
		"a\n{{ username ":                    `line 2: "{{" is not closed`,
	} {
		if _, err := fromJinja(source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", source, err, want)
		}
	}
}

func TestJinjaIsToldFromGo(t *testing.T) {
	for source, want := range map[string]bool{
		oldPage: true, "{{ username }}": true, "{% if x %}": true,
		"{{.Username}}": false, "{{if .Error}}{{end}}": false, "plain": false, "<style>a{#b{}}</style>": false, "{{else}}": false,
	} {
		if got := isJinja(source); got != want {
			t.Errorf("isJinja(%.40q) = %v", source, got)
		}
	}
}

func FuzzJinja(f *testing.F) {
	f.Add(oldPage)
	f.Add("{{ a|e }}{% if not (a or b) and c %}{#-#}{% endif %}")
	f.Add("{{- -}}{%%}{##}{{")
	f.Fuzz(func(t *testing.T, source string) {
		text, err := fromJinja(source)
		if err != nil {
			return
		}
		tmpl, err := template.New("").Parse(text)
		if err != nil {
			return
		}
		b := cappedBuffer{left: 1 << 20}
		tmpl.Execute(&b, LoginPage{Username: "x"}) // must end, and not panic
	})
}
