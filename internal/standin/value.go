package standin

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ComfyUI keeps a prompt as a Python dict and prints it back with json.dumps: keys in the order
// they came, 1.0 apart from 1, everything beyond ASCII escaped. The values here do the same, so
// that bodies, content lengths and the metadata in PNG files agree to the byte.

// number is a JSON number in Python's spelling.
type number string

// list is a JSON array.
type list = []any

// object is a JSON object that keeps the order of its keys.
type object struct {
	keys []string
	vals map[string]any
}

// obj makes an object from alternating keys and values.
func obj(pairs ...any) *object {
	o := &object{vals: make(map[string]any, len(pairs)/2)}
	for i := 0; i+1 < len(pairs); i += 2 {
		o.set(pairs[i].(string), pairs[i+1])
	}
	return o
}

func (o *object) set(k string, v any) {
	if _, there := o.vals[k]; !there {
		o.keys = append(o.keys, k)
	}
	o.vals[k] = v
}

func (o *object) get(k string) (any, bool) {
	if o == nil {
		return nil, false
	}
	v, ok := o.vals[k]
	return v, ok
}

func (o *object) object(k string) *object {
	v, _ := o.get(k)
	x, _ := v.(*object)
	return x
}

func (o *object) str(k string) string {
	v, _ := o.get(k)
	x, _ := v.(string)
	return x
}

func (o *object) len() int {
	if o == nil {
		return 0
	}
	return len(o.keys)
}

func (o *object) del(k string) {
	if _, there := o.vals[k]; !there {
		return
	}
	delete(o.vals, k)
	for i, x := range o.keys {
		if x == k {
			o.keys = append(o.keys[:i:i], o.keys[i+1:]...)
			return
		}
	}
}

// clone copies the first level.
func (o *object) clone() *object {
	c := &object{keys: append([]string{}, o.keys...), vals: make(map[string]any, len(o.keys))}
	for k, v := range o.vals {
		c.vals[k] = v
	}
	return c
}

const maxDepth = 500 // Python gives up at about 1000 levels; deeper input is an error here too

var errTrailing = errors.New("extra data after the JSON value")

// parse reads one JSON value.
func parse(r io.Reader) (any, error) {
	d := json.NewDecoder(r)
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errTrailing
	}
	return v, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, errors.New("JSON too deep")
	}
	switch t := t.(type) {
	case json.Number:
		return pythonNumber(string(t)), nil
	case json.Delim:
		if t == '[' {
			l := list{}
			for d.More() {
				v, err := parseValue(d, depth+1)
				if err != nil {
					return nil, err
				}
				l = append(l, v)
			}
			_, err := d.Token()
			return l, err
		}
		o := obj()
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			o.set(k.(string), v)
		}
		_, err := d.Token()
		return o, err
	}
	return t, nil
}

func pythonNumber(s string) number {
	if strings.ContainsAny(s, ".eE") {
		f, _ := strconv.ParseFloat(s, 64)
		return pythonFloat(f)
	}
	if s == "-0" {
		return "0"
	}
	return number(s)
}

// pythonFloat spells a float as Python's repr does: the shortest digits, ".0" on whole ones, an
// exponent below 1e-4 and from 1e16.
func pythonFloat(f float64) number {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case math.IsNaN(f):
		return "NaN"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return number(strconv.FormatFloat(f, 'e', -1, 64))
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return number(s)
}

func (n number) isFloat() bool { return strings.ContainsAny(string(n), ".eEIN") }

func (n number) float() float64 {
	f, _ := strconv.ParseFloat(string(n), 64)
	return f
}

// dumps prints a value as Python's json.dumps does.
func dumps(v any) []byte { return appendValue(make([]byte, 0, 256), v) }

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case string:
		return appendString(b, v)
	case number:
		return append(b, v...)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return append(b, pythonFloat(v)...)
	case list:
		return appendList(b, len(v), func(i int) any { return v[i] })
	case []string:
		return appendList(b, len(v), func(i int) any { return v[i] })
	case []*object:
		return appendList(b, len(v), func(i int) any { return v[i] })
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		return appendValue(b, &object{keys: keys, vals: v})
	case *object:
		if v == nil {
			return append(b, "null"...)
		}
		b = append(b, '{')
		for i, k := range v.keys {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = append(appendString(b, k), ": "...)
			b = appendValue(b, v.vals[k])
		}
		return append(b, '}')
	}
	panic("standin: a value that JSON does not know")
}

func appendList(b []byte, n int, at func(int) any) []byte {
	b = append(b, '[')
	for i := range n {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendValue(b, at(i))
	}
	return append(b, ']')
}

func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	u16 := func(x rune) {
		b = append(b, '\\', 'u', hex[x>>12&15], hex[x>>8&15], hex[x>>4&15], hex[x&15])
	}
	b = append(b, '"')
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		i += n
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c >= ' ' && c < 0x7f:
			b = append(b, byte(c))
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c > 0xffff:
			c -= 0x10000
			u16(0xd800 + c>>10)
			u16(0xdc00 + c&0x3ff)
		default:
			u16(c)
		}
	}
	return append(b, '"')
}

// repr prints a value as Python's repr does, for messages that quote one.
func repr(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		if strings.Contains(v, "'") && !strings.Contains(v, `"`) {
			return `"` + v + `"`
		}
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`).Replace(v) + "'"
	case list:
		parts := make([]string, len(v))
		for i, x := range v {
			parts[i] = repr(x)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case *object:
		parts := make([]string, len(v.keys))
		for i, k := range v.keys {
			parts[i] = repr(k) + ": " + repr(v.vals[k])
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return string(dumps(v))
}

// str prints a value as Python's str does.
func str(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return repr(v)
}
