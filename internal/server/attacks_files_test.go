package server

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"comfylatch/internal/account"
	"comfylatch/internal/isolate"
)

// guestFolderOf gives the folder of the guest with this cookie.
func (h *house) guestFolderOf(cookie string) string {
	h.t.Helper()
	_, value, _ := strings.Cut(cookie, "=")
	who, err := h.login.Find(h.t.Context(), value)
	if err != nil || who.Role != account.Guest {
		h.t.Fatalf("the guest is %v, %v", who, err)
	}
	return isolate.Folder(who)
}

// put writes a file into one of ComfyUI's folders.
func (h *house) put(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.comfy.Dir(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func TestGuestsSeeNobodyElsesFiles(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	cookie := h.guest()
	own := h.guestFolderOf(cookie)
	h.put("output/secret.png", "secret")
	h.put("output/"+own+"/mine.png", "mine")
	h.put("input/guests/0123456789ab/theirs.png", "secret")
	h.put("input/start.png", "start")
	view := func(pairs ...string) string {
		var q []string
		for i := 0; i < len(pairs); i += 2 {
			q = append(q, pairs[i]+"="+url.QueryEscape(pairs[i+1]))
		}
		return "/view?" + strings.Join(q, "&")
	}
	for _, c := range []struct {
		name, target string
		want         int
	}{
		{"another's output", view("filename", "secret.png", "type", "output"), 403},
		{"another's output, no type", view("filename", "secret.png"), 403},
		{"one's folder in the name, of which ComfyUI drops it", view("filename", own+"/secret.png", "type", "output"), 403},
		{"the same with an annotation", view("filename", own+"/secret.png [output]", "type", "temp"), 403},
		{"annotation beats the type", view("filename", "secret.png [output]", "type", "input"), 403},
		{"annotation with two spaces", view("filename", "secret.png  [output]", "type", "temp"), 403},
		{"annotation without a space", view("filename", "secret.pngx[output]", "type", "temp"), 403},
		{"annotation behind an annotation", view("filename", "secret.png [output] [temp]", "type", "temp"), 404},
		{"annotation in other case", view("filename", "secret.png [Output]", "type", "temp"), 404},
		{"climbing out of one's folder", view("filename", "secret.png", "subfolder", own+"/../..", "type", "output"), 403},
		{"climbing by backslash", view("filename", "secret.png", "subfolder", own+`\..\..`, "type", "output"), 403},
		{"a folder whose name begins alike", view("filename", "secret.png", "subfolder", own+"x", "type", "output"), 403},
		{"absolute", view("filename", "/etc/passwd", "type", "temp"), 403},
		{"a hash", view("filename", "blake3:00", "type", "temp"), 403},
		{"type in other case", view("filename", "secret.png", "type", "Output"), 403},
		{"two types", "/view?filename=secret.png&type=temp&type=output", 400},
		{"two types, one spelled otherwise", "/view?filename=secret.png&type=temp&%74ype=output", 400},
		{"two names", "/view?filename=a.png&filename=secret.png&type=output", 400},
		{"another guest's upload", view("filename", "theirs.png", "subfolder", "guests/0123456789ab", "type", "input"), 403},
		{"another guest's upload, by dots", view("filename", "theirs.png", "subfolder", "./guests/0123456789ab", "type", "input"), 403},
		{"another guest's upload, other case", view("filename", "theirs.png", "subfolder", "Guests/0123456789ab", "type", "input"), 403},
		{"control: one's own", view("filename", "mine.png", "subfolder", own, "type", "output"), 200},
		{"control: what a workflow begins with", view("filename", "start.png", "type", "input"), 200},
	} {
		for _, prefix := range []string{"", "/api"} {
			t.Run(c.name+" "+prefix, func(t *testing.T) {
				h := *h
				h.t = t
				got := h.get(prefix+c.target, "Cookie: "+cookie)
				h.wantStatus(got, c.want)
				if strings.Contains(got.body, "secret") {
					t.Errorf("the guest got %q", got.body)
				}
			})
		}
	}
}

// formOf writes a multipart form by hand: pairs of a header and a value.
func formOf(parts ...string) string {
	var b strings.Builder
	for i := 0; i < len(parts); i += 2 {
		fmt.Fprintf(&b, "--XX\r\n%s\r\n\r\n%s\r\n", parts[i], parts[i+1])
	}
	return b.String() + "--XX--\r\n"
}

const (
	formType  = "Content-Type: multipart/form-data; boundary=XX"
	fieldHead = "Content-Disposition: form-data; name="
	imageHead = fieldHead + `"image"; filename=`
)

func TestUploadsOfOthersAreReadAndWrittenAnew(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	cookie := h.guest()
	own := h.guestFolderOf(cookie)
	guest := []string{"Cookie: " + cookie, "Origin: " + h.url, formType}
	h.put("input/taken.png", "the owner's")
	h.put("output/secret.png", "secret")
	mask := func(ref string) string {
		return formOf(imageHead+`"m.png"`, "x", fieldHead+`"original_ref"`, ref)
	}
	for _, c := range []struct {
		name, path, body string
		want             int
	}{
		{"T5 pickle upload", "/upload/image", formOf(imageHead+`"shard_0.pkl"`, "x"), 403},
		{"T5 pickle by filename*", "/upload/image", formOf(imageHead+`"a.png"; filename*=UTF-8''shard_0.pkl`, "x"), 403},
		{"T5 pickle in pieces", "/upload/image", formOf(fieldHead+`"image"; filename*0="shard_0"; filename*1=".pkl"`, "x"), 403},
		{"T5 in other case", "/upload/image", formOf(imageHead+`"shard_0.PkL"`, "x"), 403},
		{"T5 behind a dot", "/upload/image", formOf(imageHead+`"a.pkl."`, "x"), 403},
		{"T28 into output", "/upload/image", formOf(imageHead+`"a.png"`, "x", fieldHead+`"type"`, "output"), 403},
		{"T28 climbing folder", "/upload/image", formOf(imageHead+`"a.png"`, "x", fieldHead+`"subfolder"`, "../"), 400},
		{"T28 climbing name", "/upload/image", formOf(imageHead+`"../a.png"`, "x"), 400},
		{"T28 a name with a folder", "/upload/image", formOf(imageHead+`"x/a.png"`, "x"), 400},
		{"T28 absolute name", "/upload/image", formOf(imageHead+`"/a.png"`, "x"), 400},
		{"T28 Windows drive", "/upload/image", formOf(imageHead+`"C:a.png"`, "x"), 400},
		{"T28 escaped backslash", "/upload/image", formOf(imageHead+`"..\\a.png"`, "x"), 400},
		{"T28 a stream of a file", "/upload/image", formOf(imageHead+`"a.pkl:.png"`, "x"), 400},
		{"a field twice", "/upload/image", formOf(imageHead+`"a.png"`, "x", fieldHead+`"type"`, "temp", fieldHead+`"type"`, "output"), 400},
		{"the file twice", "/upload/image", formOf(imageHead+`"a.png"`, "x", imageHead+`"b.pkl"`, "x"), 400},
		{"two dispositions", "/upload/image", formOf(imageHead+"\"a.png\"\r\n"+imageHead+`"b.pkl"`, "x"), 400},
		{"an encoding of the part", "/upload/image", formOf(imageHead+"\"a.png\"\r\nContent-Transfer-Encoding: base64", "eA=="), 400},
		{"a field that is a file", "/upload/image", formOf(imageHead+`"a.png"`, "x", fieldHead+`"subfolder"; filename="s"`, "a"), 400},
		{"no name", "/upload/image", formOf(`Content-Disposition: form-data; filename="a.png"`, "x"), 400},
		{"cut off", "/upload/image", strings.TrimSuffix(formOf(imageHead+`"a.png"`, "x"), "\r\n--XX--\r\n"), 400},
		{"text that is not UTF-8", "/upload/image", formOf(imageHead+`"a.png"`, "x", fieldHead+`"subfolder"`, "\xff"), 400},
		{"mask of another's output", "/upload/mask", mask(`{"filename":"secret.png","type":"output"}`), 403},
		{"mask by annotation", "/upload/mask", mask(`{"filename":"secret.png [output]","type":"input"}`), 403},
		{"mask by two cases of a key", "/upload/mask", mask(`{"filename":"secret.png","type":"output","Type":"input"}`), 403},
		{"mask by a key twice", "/upload/mask", mask(`{"filename":"secret.png","type":"output","type":"input"}`), 400},
		{"mask without a type", "/upload/mask", mask(`{"filename":"secret.png"}`), 403},
		{"mask with a folder in the name", "/upload/mask", mask(`{"filename":"` + own + `/../secret.png","type":"output"}`), 400},
		{"mask of one's folder in the name", "/upload/mask", mask(`{"filename":"` + own + `/secret.png","type":"output"}`), 403},
		{"mask of no text", "/upload/mask", mask(`{"filename":["secret.png"],"type":"output"}`), 400},
		{"control: mask of an input", "/upload/mask", mask(`{"filename":"taken.png","type":"input"}`), 200},
		{"control: mask of one's own", "/upload/mask", mask(`{"filename":"a.png","subfolder":"` + own + `","type":"output"}`), 200},
		{"T28 control: overwriting one's own", "/upload/image", formOf(imageHead+`"taken.png"`, "mine", fieldHead+`"overwrite"`, "true"), 200},
		{"T28 control: a folder of one's own", "/upload/image", formOf(imageHead+`"a;b.png"`, "mine", fieldHead+`"subfolder"`, "pasted"), 200},
		{"a field that changes how others are read", "/upload/image", formOf(fieldHead+`"_charset_"`, "utf-7", imageHead+`"c.png"`, "mine", fieldHead+`"subfolder"`, "+AC4ALgAvAC4ALg-"), 200},
	} {
		for _, prefix := range []string{"", "/api"} {
			t.Run(c.name+" "+prefix+c.path, func(t *testing.T) {
				h := *h
				h.t = t
				got := h.do("POST", prefix+c.path, c.body, guest...)
				if c.want == 200 && strings.Contains(c.path, "mask") {
					if got.status == 400 || got.status == 403 { // the stand-in cannot mask what is no picture
						t.Errorf("got %d %q", got.status, short(got.body))
					}
					return
				}
				h.wantStatus(got, c.want)
			})
		}
	}
	t.Run("T28 nothing of another's was touched", func(t *testing.T) {
		files := map[string]string{}
		filepath.WalkDir(h.comfy.Dir(), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				name, _ := filepath.Rel(h.comfy.Dir(), path)
				text, _ := os.ReadFile(path)
				files[name] = string(text)
			}
			return nil
		})
		for name, text := range files {
			if strings.HasPrefix(name, "input/"+own+"/") {
				continue
			}
			if text == "mine" || text == "x" || strings.HasSuffix(name, ".pkl") {
				t.Errorf("the guest wrote %s", name)
			}
		}
		if files["input/taken.png"] != "the owner's" || files["input/"+own+"/taken.png"] != "mine" {
			t.Errorf("the files are %v", files)
		}
	})
}

func TestUsersOverwriteNothing(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	h.put("input/a.png", "another's")
	user := h.token("user")
	t.Run("T28 overwrite", func(t *testing.T) {
		h := *h
		h.t = t
		h.wantStatus(h.do("POST", "/upload/image", formOf(imageHead+`"a.png"`, "user's", fieldHead+`"overwrite"`, "true"), user, formType), 200)
		if text, _ := os.ReadFile(filepath.Join(h.comfy.Dir(), "input/a.png")); string(text) != "another's" {
			t.Errorf("the file is now %q", text)
		}
		h.wantStatus(h.do("POST", "/upload/image", formOf(imageHead+`"a.pkl"`, "x"), user, formType), 403)
	})
	t.Run("T28 control: the owner overwrites", func(t *testing.T) {
		h := *h
		h.t = t
		h.wantStatus(h.do("POST", "/upload/image", formOf(imageHead+`"a.png"`, "owner's", fieldHead+`"overwrite"`, "true"), bearer, formType), 200)
		if text, _ := os.ReadFile(filepath.Join(h.comfy.Dir(), "input/a.png")); string(text) != "owner's" {
			t.Errorf("the file is %q", text)
		}
	})
}
