package standin

import (
	"strings"
	"testing"
)

func TestValuesAreSpelledAsPythonDoes(t *testing.T) {
	for in, want := range map[string]string{
		`{"b":1,"a":[],"b":2.50}`:         `{"b": 2.5, "a": []}`,
		`[1.0,1e3,1E16,1e-5,0.0001,-0.0]`: `[1.0, 1000.0, 1e+16, 1e-05, 0.0001, -0.0]`,
		`[12345678901234567890,-0,1e999]`: `[12345678901234567890, 0, Infinity]`,
		`"é€😀\u0000\u007f/\"\\\n"`:        `"\u00e9\u20ac\ud83d\ude00\u0000\u007f/\"\\\n"`,
		`[true,false,null,{}]`:            `[true, false, null, {}]`,
	} {
		v, err := parse(strings.NewReader(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := string(dumps(v)); got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
	for _, bad := range []string{"", "x", "{}{}", `{"a"}`, "[1,]", "'a'", strings.Repeat("[", 5000)} {
		if _, err := parse(strings.NewReader(bad)); err == nil {
			t.Errorf("%.20q is taken for JSON", bad)
		}
	}
}

func FuzzValuesSurviveTheRoundTrip(f *testing.F) {
	f.Add(`{"a":[1,2.5,"x",null,true]}`)
	f.Fuzz(func(t *testing.T, in string) {
		v, err := parse(strings.NewReader(in))
		if err != nil {
			return
		}
		once := string(dumps(v))
		if strings.Contains(once, "Infinity") {
			return // Python's own extension of JSON
		}
		again, err := parse(strings.NewReader(once))
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice := string(dumps(again)); once != twice {
			t.Errorf("%s, then %s", once, twice)
		}
	})
}
