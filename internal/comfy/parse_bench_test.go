package comfy

import (
	"slices"
	"strings"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	for _, target := range []string{"/api/queue", "/view?filename=a.png&type=output&subfolder=x", "/api/userdata/workflows%2Fa.json"} {
		b.Run(target, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := Parse("GET", target)
				if err != nil {
					b.Fatal(err)
				}
				r.Least()
			}
		})
	}
}

func TestWholePathsMayStandWhereThePatternSaysSo(t *testing.T) {
	for i := range Table {
		r := &Table[i]
		parts := strings.Split(r.Pattern, "/")[1:]
		for at := range len(parts) + 2 {
			want := at < len(parts) && strings.HasSuffix(parts[at], "%}")
			if got := r.slashAt(at); got != want {
				t.Errorf("%s, segment %d: %v, want %v", r.Pattern, at, got, want)
			}
		}
	}
	if slices.ContainsFunc([]int{0, 1, 2}, Unknown.slashAt) {
		t.Error("an unknown route takes whole paths")
	}
}
