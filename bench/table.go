package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// row is one thing that is measured, for every server in every round.
type row struct {
	what    string
	unit    string
	lower   bool                 // less is better
	samples map[string][]float64 // by server; the n-th of each are of the same round
	goals   []goal
	notes   []string
}

// goal is what the gate's figure should be: at least (or at most, where less
// is better) so many times that of another, or of the unit where there is none.
type goal struct {
	than      string // a server, another thing that was measured, or ""
	must, aim float64
}

// add begins a row of the table.
func (b *bench) add(r *row) *row {
	r.samples = make(map[string][]float64)
	b.rows = append(b.rows, r)
	return r
}

func (r *row) put(name string, value float64) { r.samples[name] = append(r.samples[name], value) }

// spread is the median of some figures, the least and the greatest.
type spread struct{ mid, low, high float64 }

func spreadOf(values []float64) (s spread, ok bool) {
	values = slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	if len(values) == 0 {
		return s, false
	}
	slices.Sort(values)
	n := len(values)
	return spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}, true
}

// ratio compares the gate with another, round by round.
func (r *row) ratio(than string) (spread, bool) {
	ours, theirs := r.samples[gate], r.samples[than]
	var all []float64
	for i := range min(len(ours), len(theirs)) {
		all = append(all, ours[i]/theirs[i])
	}
	return spreadOf(all)
}

// reached gives what a goal speaks of.
func (r *row) reached(g goal) (spread, bool) {
	if g.than == "" {
		return spreadOf(r.samples[gate])
	}
	return r.ratio(g.than)
}

func (r *row) meets(value, goal float64) bool {
	if r.lower {
		return value <= goal
	}
	return value >= goal
}

// verdict says which goals the median meets.
func (r *row) verdict() (wanted, verdict string) {
	var wants, says []string
	for _, g := range r.goals {
		s, ok := r.reached(g)
		wants = append(wants, r.want(g))
		switch {
		case !ok:
			says = append(says, "not measured")
		case r.meets(s.mid, g.aim):
			says = append(says, "aim")
		case r.meets(s.mid, g.must):
			says = append(says, "must")
		default:
			says = append(says, "**not met**")
		}
	}
	if len(slices.Compact(slices.Clone(says))) == 1 {
		says = says[:1]
	}
	return strings.Join(wants, "; "), strings.Join(says, "; ")
}

func (r *row) want(g goal) string {
	sign := "≥ "
	if r.lower {
		sign = "≤ "
	}
	text := sign + number(g.must)
	if g.aim != g.must {
		text += " (aim " + number(g.aim) + ")"
	}
	if g.than != "" {
		return text + " × " + g.than
	}
	return text + " " + r.unit
}

var compared = []string{direct, nginx, caddy, oauth2}

// table is everything that was measured, as markdown.
func (b *bench) table() string {
	var t strings.Builder
	t.WriteString("| what | comfylatch | ÷ direct | ÷ nginx | ÷ Caddy | ÷ oauth2-proxy | wanted | met |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range b.rows {
		cells := []string{r.what, "–"}
		if s, ok := spreadOf(r.samples[gate]); ok {
			cells[1] = s.text() + " " + r.unit
		}
		for _, name := range compared {
			cell := "–"
			if s, ok := r.ratio(name); ok {
				cell = s.text()
			}
			cells = append(cells, cell)
		}
		wanted, met := r.verdict()
		cells = append(cells, wanted, met)
		t.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	for _, r := range b.rows {
		for _, n := range r.notes {
			fmt.Fprintf(&t, "\n%s: %s.", r.what, n)
		}
	}
	for _, l := range b.left {
		fmt.Fprintf(&t, "\nNot measured: %s.", l)
	}
	return t.String()
}

func (s spread) text() string {
	if s.low == s.high {
		return number(s.mid)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.mid), number(s.low), number(s.high))
}

// number writes a figure with three digits that count.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1000:
		return group(int64(math.Round(v)))
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	}
	text := strings.TrimRight(fmt.Sprintf("%.2f", v), "0")
	return strings.TrimSuffix(text, ".")
}

// group puts a thin gap between thousands.
func group(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}
