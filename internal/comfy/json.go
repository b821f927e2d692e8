package comfy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Limits of a JSON body, against bombs: aiohttp and Python have none.
const (
	maxJSONDepth   = 100
	maxJSONMembers = 200_000 // values in all
)

// Object is a JSON object in the order in which it came. Other values are
// what package encoding/json makes of them, numbers as json.Number: what was
// read is what is written again.
type Object []Member

// Member is one "key": value.
type Member struct {
	Key   string
	Value any // Object, []any, string, json.Number, bool or nil
}

// Get gives a member's value.
func (o Object) Get(key string) (any, bool) {
	for _, m := range o {
		if m.Key == key {
			return m.Value, true
		}
	}
	return nil, false
}

// Set replaces a member's value, or adds it at the end.
func (o *Object) Set(key string, value any) {
	for i := range *o {
		if (*o)[i].Key == key {
			(*o)[i].Value = value
			return
		}
	}
	*o = append(*o, Member{key, value})
}

// Drop removes a member.
func (o *Object) Drop(key string) {
	for i := range *o {
		if (*o)[i].Key == key {
			*o = append((*o)[:i], (*o)[i+1:]...)
			return
		}
	}
}

// JSON writes a value that ParseJSON has read, members in their order.
// (encoding/json would escape "<" in what a Marshaler of ours returns.)
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := writeJSON(&b, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func writeJSON(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case Object:
		b.WriteByte('{')
		for i, m := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeJSON(b, m.Key); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := writeJSON(b, m.Value); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeJSON(b, e); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	default:
		e := json.NewEncoder(b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return err
		}
		b.Truncate(b.Len() - 1) // the encoder's line break
	}
	return nil
}

// ParseJSON reads one JSON value strictly. It refuses what two readers could
// take differently (a key twice in one object, text that is not UTF-8, NaN,
// something behind the value) and what would exhaust one (depth, members).
func ParseJSON(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	p := jsonReader{d: d}
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something stands behind the JSON value")
	}
	return v, nil
}

type jsonReader struct {
	d     *json.Decoder
	count int
}

func (p *jsonReader) value(depth int) (any, error) {
	if p.count++; p.count > maxJSONMembers || depth > maxJSONDepth {
		return nil, errors.New("it is nested too deeply or has too many values")
	}
	t, err := p.d.Token()
	if err != nil {
		return nil, syntaxError(err)
	}
	switch t {
	case json.Delim('{'):
		return p.object(depth)
	case json.Delim('['):
		list := []any{}
		for p.d.More() {
			v, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := p.d.Token()
		return list, syntaxError(err)
	}
	return t, nil
}

func (p *jsonReader) object(depth int) (any, error) {
	o := Object{}
	seen := make(map[string]bool)
	for p.d.More() {
		t, err := p.d.Token()
		if err != nil {
			return nil, syntaxError(err)
		}
		key := t.(string) // the decoder allows nothing else here
		if seen[key] {
			return nil, fmt.Errorf("the key %q stands twice in one object", short(key))
		}
		seen[key] = true
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		o = append(o, Member{key, v})
	}
	_, err := p.d.Token()
	return o, syntaxError(err)
}

func syntaxError(err error) error {
	if err == nil {
		return nil
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("it ends too early")
	}
	return err
}

// short cuts a visitor's text for a message.
func short(s string) string {
	const n = 64
	if len(s) <= n {
		return s
	}
	for i := n; i > 0; i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i] + "…"
		}
	}
	return ""
}
