package standin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// anyValue lists the JSON keys whose value may differ from the recording; its type may not.
var anyValue = map[string]string{
	"timestamp": "a time", "create_time": "a time", "execution_start_time": "a time", "execution_end_time": "a time", "modified": "a time", "created": "a time",
	"ram_total": "the machine's", "ram_free": "the machine's", "vram_total": "the machine's", "vram_free": "the machine's",
	"torch_vram_total": "the machine's", "torch_vram_free": "the machine's",
	"python_version": "the machine's", "pytorch_version": "the machine's", "deploy_environment": "how it was installed",
	"installed_templates_version": "what is installed beside it", "comfy_package_versions": "what is installed beside it",
	"argv": "how it was started", "color": "chosen anew for each run", "sid": "chosen by the server when the client sends none",
	"traceback": "lines of Python", "folders": "folders of the machine",
}

// anyOrder lists the JSON keys whose lists are Python sets: their order is chance there.
var anyOrder = map[string]bool{"errors": true, "dependent_outputs": true, "executed": true, "current_outputs": true, "nodes": true}

// anyBody lists the exchanges whose body depends on what is installed; only its JSON type counts.
var anyBody = map[string]string{
	"GET /extensions":            "the front end's files",
	"GET /global_subgraphs":      "blueprints that come with ComfyUI; the stand-in has none",
	"GET /node_replacements":     "replacements that come with nodes; the stand-in has none",
	"GET /internal/logs/raw":     "the log",
	"GET /internal/folder_paths": "folders of the machine",
}

// anyInterruption: where the running prompt is caught depends on the speed of the machine; the
// two recordings differ here as well.
var anyInterruption = map[string]string{"node_id": "timing", "node_type": "timing", "executed": "timing"}

// comparedHeaders must be equal, and absent where the recording has none.
var comparedHeaders = []string{"content-type", "cache-control", "content-disposition", "location", "allow", "access-control-allow-origin",
	"pragma", "expires", "x-content-type-options"}

func (p *player) compareAnswer(e exchange, r *http.Response, body []byte) {
	p.t.Helper()
	if r.StatusCode != e.Status {
		p.t.Errorf("status %d, want %d; body %.300s", r.StatusCode, e.Status, body)
		return
	}
	p.translateFile(e.Headers["content-disposition"], r.Header.Get("Content-Disposition"))
	for _, h := range comparedHeaders {
		if got := p.inward(r.Header.Get(h)); got != e.Headers[h] {
			p.t.Errorf("header %s is %q, want %q", h, got, e.Headers[h])
		}
	}
	for _, h := range []string{"etag", "last-modified"} {
		if (r.Header.Get(h) != "") != (e.Headers[h] != "") {
			p.t.Errorf("header %s is %q, want one like %q", h, r.Header.Get(h), e.Headers[h])
		}
	}
	if tag := r.Header.Get("Etag"); tag != "" && !regexp.MustCompile(`^"[0-9a-f]+-[0-9a-f]+"$`).MatchString(tag) {
		p.t.Errorf("ETag %s is not made of a time and a size", tag)
	}
	if chunked := slices.Contains(r.TransferEncoding, "chunked"); chunked != (e.Headers["transfer-encoding"] == "chunked") {
		p.t.Errorf("transfer encoding %q, want %q", r.TransferEncoding, e.Headers["transfer-encoding"])
	}
	if e.Method != http.MethodHead {
		p.compareBody(e, body)
	}
}

func (p *player) compareBody(e exchange, body []byte) {
	p.t.Helper()
	switch {
	case e.BodyBase64 != nil:
		p.comparePicture(e.BodyBase64, body)
	case !strings.HasPrefix(e.Headers["content-type"], "application/json") || e.Body == nil:
		if want := deref(e.Body); p.inward(string(body)) != want {
			p.t.Errorf("body %q, want %q", body, want)
		}
	case anyBody[e.Name] != "" || e.BodyLength > 0:
		if !json.Valid(body) || body[0] != (*e.Body)[0] {
			p.t.Errorf("body %.100s, want JSON like %.100s", body, *e.Body)
		}
	default:
		p.compareJSON(e.Name, *e.Body, string(body))
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// comparePicture compares format and size of a picture, and the names of a PNG's texts.
func (p *player) comparePicture(want, got []byte) {
	p.t.Helper()
	head := 12 // RIFF, length, WEBP
	if bytes.HasPrefix(want, []byte("\x89PNG")) {
		head = 24 // up to width and height
	} else if len(got) >= 8 {
		copy(got[4:8], want[4:8])
	}
	if len(got) < head || !bytes.Equal(got[:head], want[:head]) {
		p.t.Errorf("picture begins %q, want %q", got[:min(head, len(got))], want[:head])
	}
	if got, want := keywords(got), keywords(want); !slices.Equal(got, want) {
		p.t.Errorf("the PNG has the texts %q, want %q", got, want)
	}
}

func keywords(png []byte) (all []string) {
	texts := pngTexts(png)
	for i := 0; i < len(texts); i += 2 {
		all = append(all, texts[i])
	}
	return all
}

func (p *player) compareJSON(name, want, got string) {
	p.t.Helper()
	w, err := parse(strings.NewReader(want))
	if err != nil {
		p.t.Fatalf("the recording: %v", err)
	}
	g, err := parse(strings.NewReader(got))
	if err != nil {
		p.t.Errorf("body %.300s: %v", got, err)
		return
	}
	p.learn(w, g)
	g, err = parse(strings.NewReader(p.inward(got)))
	if err != nil {
		p.t.Fatal(err)
	}
	tolerated := anyValue
	if name == "GET /history of interrupted" {
		tolerated = map[string]string{}
		for k, v := range anyValue {
			tolerated[k] = v
		}
		for k, v := range anyInterruption {
			tolerated[k] = v
		}
	}
	for _, d := range diff("", "", w, g, tolerated) {
		p.t.Errorf("%s", d)
	}
}

// learn finds names that differ by chance: prompt ids and file names.
func (p *player) learn(want, got any) {
	switch w := want.(type) {
	case *object:
		g, ok := got.(*object)
		if !ok {
			return
		}
		for i, k := range w.keys {
			v, there := g.get(k)
			if !there && i < g.len() {
				v = g.vals[g.keys[i]] // a map by prompt id
			}
			a, b := w.str(k), g.str(k)
			switch {
			case k == "prompt_id" && a != "":
				p.translate(a, b)
			case k == "filename":
				p.translateFile(a, b)
			}
			p.learn(w.vals[k], v)
		}
	case []any:
		g, _ := got.([]any)
		for i := range min(len(w), len(g)) {
			p.learn(w[i], g[i])
		}
	}
}

// generated matches the names that SaveImage and PreviewImage make: a number or letters that
// depend on what is there already.
var generated = regexp.MustCompile(`(rec|ComfyUI_temp_[a-z]{5})_[0-9]{5}_\.png`)

func (p *player) translateFile(recorded, here string) {
	a, b := generated.FindString(recorded), generated.FindString(here)
	if a == "" || b == "" || slices.Contains(p.to, a) {
		return
	}
	p.translate(a, b)
}

var absolutePath = regexp.MustCompile(`'/[^']*/([^'/]+)'`)

// diff lists what differs. key is the JSON key that led to the value.
func diff(at, key string, want, got any, tolerated map[string]string) []string {
	if fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
		return []string{fmt.Sprintf("%s: %.200s, want %.200s", at, dumps(got), dumps(want))}
	}
	if tolerated[key] != "" {
		return nil
	}
	switch w := want.(type) {
	case *object:
		return diffObjects(at, w, got.(*object), tolerated)
	case []any:
		g := got.([]any)
		if anyOrder[key] {
			w, g = sorted(w), sorted(g)
		}
		if len(w) != len(g) {
			return []string{fmt.Sprintf("%s: %d elements, want %d: %.500s", at, len(g), len(w), dumps(g))}
		}
		var all []string
		for i := range w {
			all = append(all, diff(fmt.Sprintf("%s[%d]", at, i), "", w[i], g[i], tolerated)...)
		}
		return all
	case string:
		if a, b := absolutePath.ReplaceAllString(w, "'$1'"), absolutePath.ReplaceAllString(got.(string), "'$1'"); a != b {
			return []string{fmt.Sprintf("%s: %q, want %q", at, b, a)}
		}
		return nil
	}
	if got != want {
		return []string{fmt.Sprintf("%s: %s, want %s", at, dumps(got), dumps(want))}
	}
	return nil
}

func diffObjects(at string, w, g *object, tolerated map[string]string) (all []string) {
	if !slices.Equal(slices.Sorted(slices.Values(w.keys)), slices.Sorted(slices.Values(g.keys))) {
		return []string{fmt.Sprintf("%s: keys %q, want %q", at, g.keys, w.keys)}
	}
	for _, k := range w.keys {
		all = append(all, diff(path.Join(at, k), k, w.vals[k], g.vals[k], tolerated)...)
	}
	return all
}

func sorted(l list) list {
	l = slices.Clone(l)
	sort.Slice(l, func(i, j int) bool { return sortKey(l[i]) < sortKey(l[j]) })
	return l
}

func sortKey(v any) string {
	if o, ok := v.(*object); ok {
		return o.str("details") + o.str("type")
	}
	return string(dumps(v))
}

// compareFrames wants the same frames in the same order.
func (p *player) compareFrames(want, got []message) {
	p.t.Helper()
	for i := range min(len(want), len(got)) {
		w, g := want[i], got[i]
		switch {
		case w.BinaryType != 0 || g.BinaryType != 0:
			// The head holds the type, the length of the metadata and its beginning.
			if w.BinaryType != g.BinaryType || w.HeadHex != g.HeadHex {
				p.t.Errorf("frame %d: binary type %d %s, want %d %s; %s", i, g.BinaryType, g.HeadHex, w.BinaryType, w.HeadHex, g.JSON)
			}
		default:
			before := p.t.Failed()
			p.compareJSON("", string(w.JSON), string(g.JSON))
			if p.t.Failed() && !before {
				p.t.Errorf("that was frame %d: %.300s, want %.300s", i, g.JSON, w.JSON)
			}
		}
	}
	if len(want) != len(got) {
		p.t.Errorf("%d frames, want %d", len(got), len(want))
		for i, m := range got {
			p.t.Logf("%d: %.200s", i, m.JSON)
		}
	}
}

// compareBroadcasts: a socket without a client id sees its greeting, and then what is told to
// everybody. How much of the prompt before is still to come is a matter of milliseconds.
func compareBroadcasts(p *player, got []message) {
	p.t.Helper()
	if len(got) == 0 {
		p.t.Fatal("no greeting")
	}
	for i, m := range got {
		v, err := parse(bytes.NewReader(m.JSON))
		o, ok := v.(*object)
		if err != nil || !ok {
			p.t.Fatalf("frame %d is %.100s: %v", i, m.JSON, err)
		}
		sid := o.object("data").str("sid")
		switch kind := o.str("type"); {
		case i == 0 && (kind != "status" || len(sid) != 32):
			p.t.Errorf("greeted with %s", m.JSON)
		case i > 0 && kind != "status" && kind != "progress_state" || i > 0 && sid != "":
			p.t.Errorf("frame %d is not for everybody: %s", i, m.JSON)
		}
	}
}
