package comfy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestAPromptIsWrittenAsItWasRead(t *testing.T) {
	body := `{"client_id":"c","prompt":{"9":{"class_type":"SaveImage","inputs":{"images":["8",0],"filename_prefix":"<a&b>","x":1.0,"y":12345678901234567890,"z":-0.5e-7}},"8":{"class_type":"EmptyImage","inputs":{"width":64},"_meta":{"title":"ü"}}},"extra_data":{"extra_pnginfo":{"workflow":{"nodes":[]}}},"unknown":[null,true,"\ud83d\ude00"]}`
	p, err := ParsePrompt([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.ReplaceAll(body, `\ud83d\ude00`, "😀"); string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestABodyThatTwoReadersCouldTakeDifferentlyIsRefused(t *testing.T) {
	for name, body := range map[string]string{
		"empty": "", "text": "x", "array": "[]", "a key twice": `{"prompt":{},"prompt":{}}`, "a node twice": `{"prompt":{"1":{},"1":{}}}`,
		"an escaped key twice": `{"prompt":{},"prom\u0070t":{}}`, "NaN": `{"number":NaN}`, "Infinity": `{"number":-Infinity}`,
		"two values": `{}{}`, "trailing text": `{} x`, "cut": `{"prompt":`, "not UTF-8": "{\"a\":\"\xff\"}",
		"depth": strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200), "members": "[" + strings.Repeat("1,", maxJSONMembers) + "1]",
		"BOM": "\ufeff{}", "comment": "{/**/}", "single quotes": "{'a':1}", "leading zero": `{"a":01}`, "extra_data that ends the worker": `{"prompt":{},"extra_data":5}`,
		"a client_id that ends ComfyUI": `{"prompt":{},"client_id":{}}`, "a client_id in extra_data that ends ComfyUI": `{"prompt":{},"extra_data":{"client_id":[]}}`,
		"T22 a prompt_id that becomes text": `{"prompt":{},"prompt_id":5}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParsePrompt([]byte(body))
			var e *PromptError
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want a PromptError", err)
			}
			var shape struct {
				Error      struct{ Type, Message, Details string }
				NodeErrors map[string]any `json:"node_errors"`
			}
			text, _ := json.Marshal(e)
			if err := json.Unmarshal(text, &shape); err != nil || shape.Error.Message == "" || shape.NodeErrors == nil {
				t.Errorf("not ComfyUI's shape: %s", text)
			}
		})
	}
}

func TestLoadersStayInTheirFolders(t *testing.T) {
	prompt := func(class, input string, value any) *PromptBody {
		body, _ := json.Marshal(map[string]any{"prompt": map[string]any{"1": map[string]any{"class_type": class, "inputs": map[string]any{input: value}}}})
		p, err := ParsePrompt(body)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		name, class, input string
		value              any
		admins, others     bool // refused
	}{
		{"T9 dot-dot", "LoadImage", "image", "../x.png", true, true},
		{"T9 absolute", "LoadImage", "image", "/etc/passwd", true, true},
		{"T9 backslash", "LoadImage", "image", `..\x`, true, true},
		{"T9 drive", "LoadImage", "image", `C:\x.png`, true, true},
		{"T9 home", "LoadImage", "image", "~/x.png", true, true},
		{"T9 annotated", "LoadImage", "image", "../x.png [output]", true, true},
		{"T9 inside", "LoadImage", "image", "a/../../x.png", true, true},
		{"T9 in a mask", "LoadImageMask", "image", "a/.. /x.png", true, true},
		{"T40 the password", "LoadImageIncognito", "image", "../login/PASSWORD", true, true},
		{"T9 custom loader", "VHS_LoadVideoPath", "video", "/etc/passwd", false, true},
		{"T9 custom input", "Whatever", "source", "../../etc/passwd", false, true},
		{"T9 saving elsewhere", "SaveImage", "filename_prefix", "../../x", false, true},
		{"T9 wrapped", "LoadImage", "image", map[string]any{"__value__": "../x.png"}, true, true},
		{"T9 wrapped list", "LoadImage", "image", map[string]any{"__value__": []any{"../x.png", 0}}, true, true},
		{"T9 in a list", "LoadImage", "image", []any{"a", "b", "../x"}, true, true},
		{"T9 inside an object", "Load3D", "image", map[string]any{"image": "../../x.png [temp]"}, true, true},
		{"T9 by a link", "Painter", "mask", []any{"4", 0}, false, true},
		{"T9 by a link through a switch", "LoadImage", "image", []any{"4", 0}, false, true},
		{"T9 custom loader, wrapped", "VHS_LoadVideoPath", "video", map[string]any{"__value__": "/etc/passwd"}, false, true},
		{"a link to a picture", "ImageScale", "image", []any{"4", 0}, false, false},
		{"a picture", "LoadImage", "image", "a.png", false, false},
		{"a picture in a folder", "LoadImage", "image", "pasted/a..b.png", false, false},
		{"an annotated picture", "LoadImage", "image", "a.png [output]", false, false},
		{"prose", "CLIPTextEncode", "text", "a cat, 16/9, and so on ...", false, false},
		{"prose with a command", "CLIPTextEncode", "text", "/imagine", false, false},
		{"prose with dots", "CLIPTextEncode", "text", "wait .. what", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := prompt(c.class, c.input, c.value).CheckFiles(false); (err != nil) != c.admins {
				t.Errorf("administrators: %v, refused should be %v", err, c.admins)
			}
			if err := prompt(c.class, c.input, c.value).CheckFiles(true); (err != nil) != c.others {
				t.Errorf("others: %v, refused should be %v", err, c.others)
			}
		})
	}
}

func TestAnnotationsAreReadAsComfyUIReadsThem(t *testing.T) {
	for name, want := range map[string][2]string{
		"a.png [output]": {"a.png", "output"}, "a.png [temp]": {"a.png", "temp"}, "a.png [input]": {"a.png", "input"}, "a.png": {"a.png", ""},
		"a.png  [output]": {"a.png ", "output"}, "a.png[output]": {"a.pn", "output"}, "a.png [Output]": {"a.png [Output]", ""}, "a.png [output] ": {"a.png [output] ", ""},
		"guests/ownx[output]": {"guests/own", "output"}, "a\u00e9[temp]": {"a", "temp"}, "[output]": {"", "output"}, "a [output] [temp]": {"a [output]", "temp"},
	} {
		if base, kind := CutAnnotation(name); base != want[0] || kind != want[1] {
			t.Errorf("%q is read as %q, %q, want %q", name, base, kind, want)
		}
	}
}

// FuzzParsePrompt holds that what was checked is what is sent: written and
// read again, a prompt is the same.
func FuzzParsePrompt(f *testing.F) {
	f.Add([]byte(`{"prompt":{"1":{"class_type":"LoadImage","inputs":{"image":"../x"}}},"client_id":"c"}`))
	f.Add([]byte(`{"prompt":{"1":[]},"extra_data":{"client_id":"x"},"number":-1e9,"x":"\ud800"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePrompt(data)
		if err != nil {
			return
		}
		p.DropFingerprints()
		checked := p.CheckFiles(true)
		sent, err := p.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		q, err := ParsePrompt(sent)
		if err != nil {
			t.Fatalf("%q went out as %q, which is refused: %v", data, sent, err)
		}
		again, err := q.Bytes()
		if err != nil || string(again) != string(sent) {
			t.Fatalf("%q went out as %q and is read as %q (%v)", data, sent, again, err)
		}
		if (q.CheckFiles(true) == nil) != (checked == nil) {
			t.Fatalf("%q: the check of %q differs", data, sent)
		}
		var std map[string]any // another reader
		if err := json.Unmarshal(sent, &std); err != nil {
			t.Fatalf("%q went out as %q, which encoding/json refuses: %v", data, sent, err)
		}
	})
}
