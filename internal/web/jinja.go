package web

import (
	"fmt"
	"regexp"
	"strings"
)

// jinjaNames are the variables of ComfyUI-Login's login.html, and ours under
// names in its manner. Any other name is empty, as it is in Jinja.
var jinjaNames = map[string]string{
	"first_time":          ".FirstTime",
	"username":            ".Username",
	"wrong_password":      ".WrongPassword",
	"prompt_for_username": ".PromptForUsername",
	"guest_mode":          ".GuestMode",
	"code_needed":         ".CodeNeeded",
	"error":               ".Error",
	"notice":              ".Notice",
	"next":                ".Next",
	"wait":                ".Wait",
	"true":                "true", "True": "true",
	"false": "false", "False": "false", "none": "false", "None": "false",
}

var jinjaMark = regexp.MustCompile(`\{%|\{\{-?\s*[A-Za-z_]\w*\s*(\|[^}]*)?-?\}\}`)

// isJinja tells a page in Jinja's language from one in Go's, where a lone name
// between braces means nothing.
func isJinja(source string) bool {
	m := jinjaMark.FindString(source)
	return m != "" && !regexp.MustCompile(`^\{\{-?\s*(end|else|break|continue)\s*-?\}\}$`).MatchString(m)
}

// fromJinja translates a page into Go's template language. It knows
// {{ name }}, {% if %}, {% elif %}, {% else %}, {% endif %}, "and", "or",
// "not", parentheses and {# comments #}; anything else is an error that names
// the line. Escaping is html/template's, which is stricter than Jinja's.
func fromJinja(source string) (string, error) {
	var out strings.Builder
	line := 1
	for {
		at := strings.Index(source, "{")
		if at < 0 || at == len(source)-1 {
			break
		}
		kind := source[at : at+2]
		closing, isTag := map[string]string{"{{": "}}", "{%": "%}", "{#": "#}"}[kind]
		if !isTag {
			out.WriteString(source[:at+1])
			line += strings.Count(source[:at], "\n")
			source = source[at+1:]
			continue
		}
		out.WriteString(source[:at])
		line += strings.Count(source[:at], "\n")
		inside, rest, closed := strings.Cut(source[at+2:], closing)
		if !closed {
			return "", fmt.Errorf("line %d: %q is not closed", line, kind)
		}
		action, err := jinjaAction(kind, inside)
		if err != nil {
			return "", fmt.Errorf("line %d: %w", line, err)
		}
		out.WriteString(action)
		line += strings.Count(inside, "\n")
		source = rest
	}
	out.WriteString(source)
	return out.String(), nil
}

// jinjaAction translates what stands between one pair of braces. Line breaks
// are kept, so that Go's errors name the right line.
func jinjaAction(kind, inside string) (string, error) {
	text, left, right := strings.TrimSpace(inside), "", ""
	if t, ok := strings.CutPrefix(text, "-"); ok && strings.HasPrefix(inside, "-") {
		text, left = t, "- "
	}
	if t, ok := strings.CutSuffix(text, "-"); ok && strings.HasSuffix(inside, "-") {
		text, right = t, " -"
	}
	breaks := strings.Repeat("\n", strings.Count(inside, "\n"))
	wrap := func(action string) string { return "{{" + left + action + breaks + right + "}}" }
	switch kind {
	case "{#":
		return "{{" + left + "/*" + breaks + "*/" + right + "}}", nil
	case "{{":
		expr, err := jinjaOutput(text)
		return wrap(expr), err
	}
	word, rest, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(text, "\n", " ")), " ")
	switch word {
	case "if", "elif":
		expr, err := jinjaExpression(rest)
		if err != nil {
			return "", err
		}
		if word == "elif" {
			return wrap("else if " + expr), nil
		}
		return wrap("if " + expr), nil
	case "else", "endif":
		if strings.TrimSpace(rest) != "" {
			return "", fmt.Errorf("%q takes nothing after it", word)
		}
		return wrap(map[string]string{"else": "else", "endif": "end"}[word]), nil
	}
	return "", fmt.Errorf("the tag %q is not known here: only if, elif, else and endif are", word)
}

// jinjaOutput translates {{ expression }}. The filters that only escape say
// what happens anyway.
func jinjaOutput(text string) (string, error) {
	text, filters, _ := strings.Cut(text, "|")
	for f := range strings.SplitSeq(filters, "|") {
		switch strings.TrimSpace(f) {
		case "", "e", "escape":
		default:
			return "", fmt.Errorf("the filter %q is not known here", strings.TrimSpace(f))
		}
	}
	return jinjaExpression(text)
}

var jinjaWord = regexp.MustCompile(`^\s*([A-Za-z_]\w*|[()])`)

// jinjaExpression translates names joined by and, or, not and parentheses.
func jinjaExpression(text string) (string, error) {
	p := jinjaParser{}
	for rest := text; strings.TrimSpace(rest) != ""; {
		m := jinjaWord.FindStringSubmatch(rest)
		if m == nil {
			return "", fmt.Errorf("the expression %q is not known here: only names, and, or, not are", strings.TrimSpace(text))
		}
		p.words = append(p.words, m[1])
		rest = rest[len(m[0]):]
	}
	expr, err := p.either(0)
	if err == nil && len(p.words) > 0 {
		err = fmt.Errorf("%q is not expected there", p.words[0])
	}
	return expr, err
}

// jinjaParser reads by precedence: or, and, not, names.
type jinjaParser struct{ words []string }

func (p *jinjaParser) take(word string) bool {
	if len(p.words) == 0 || p.words[0] != word {
		return false
	}
	p.words = p.words[1:]
	return true
}

func (p *jinjaParser) either(depth int) (string, error) { return p.joined(depth, "or", p.both) }
func (p *jinjaParser) both(depth int) (string, error)   { return p.joined(depth, "and", p.one) }

func (p *jinjaParser) joined(depth int, word string, part func(int) (string, error)) (string, error) {
	first, err := part(depth)
	parts := []string{first}
	for err == nil && p.take(word) {
		var next string
		next, err = part(depth)
		parts = append(parts, next)
	}
	if err != nil || len(parts) == 1 {
		return first, err
	}
	return "(" + word + " " + strings.Join(parts, " ") + ")", nil
}

func (p *jinjaParser) one(depth int) (string, error) {
	if depth > 50 {
		return "", fmt.Errorf("the expression is nested too deeply")
	}
	switch {
	case p.take("not"):
		expr, err := p.one(depth + 1)
		return "(not " + expr + ")", err
	case p.take("("):
		expr, err := p.either(depth + 1)
		if err == nil && !p.take(")") {
			err = fmt.Errorf("a closing parenthesis is missing")
		}
		return expr, err
	case len(p.words) == 0:
		return "", fmt.Errorf("the expression is not complete")
	}
	name := p.words[0]
	p.words = p.words[1:]
	switch name {
	case "and", "or", ")", "is", "in", "if", "else":
		return "", fmt.Errorf("%q is not expected there", name)
	}
	if field, ok := jinjaNames[name]; ok {
		return field, nil
	}
	return `""`, nil
}
