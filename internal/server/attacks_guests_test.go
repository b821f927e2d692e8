package server

import (
	"fmt"
	"strings"
	"testing"
)

func TestPromptsOfGuests(t *testing.T) {
	h := newHouse(t, nil)
	h.setUp()
	cookie, origin := "Cookie: "+h.guest(), "Origin: "+h.url
	graph := func(image, prefix string) string {
		return fmt.Sprintf(`{"1":{"class_type":"LoadImage","inputs":{"image":%q}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":%q}}}`, image, prefix)
	}
	empty := `{"1":{"class_type":"EmptyImage","inputs":{"width":8,"height":8,"batch_size":1,"color":1}},"2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"x"}}}`
	for _, c := range []struct {
		name, body string
		want       int
	}{
		{"T9 dot-dot", `{"prompt":` + graph("../x.png", "a") + `}`, 400},
		{"T9 absolute", `{"prompt":` + graph("/etc/passwd", "a") + `}`, 400},
		{"T9 backslash", `{"prompt":` + graph(`..\x`, "a") + `}`, 400},
		{"T9 another's output", `{"prompt":` + graph("x.png [output]", "a") + `}`, 403},
		{"T40 the password", `{"prompt":{"1":{"class_type":"LoadImageIncognito","inputs":{"image":"../login/PASSWORD"}}}}`, 400},
		{"T5 pickles", `{"prompt":{"1":{"class_type":"LoadTrainingDataset","inputs":{"folder_name":"x"}}}}`, 403},
		{"a class that is not there", `{"prompt":{"1":{"class_type":"NoSuchNode","inputs":{}}}}`, 403},
		{"no class", `{"prompt":{"1":{"inputs":{}}}}`, 403},
		{"T9 another's output, wrapped", `{"prompt":{"1":{"class_type":"LoadImage","inputs":{"image":{"__value__":"x.png [output]"}}}}}`, 403},
		{"T9 another's output, inside an object", `{"prompt":{"1":{"class_type":"Load3D","inputs":{"model_file":"none","image":{"image":"x.png [output]"}}}}}`, 403},
		{"T9 another's output, two spaces", `{"prompt":` + graph("x.png  [output]", "a") + `}`, 403},
		{"T9 another's output, no space", `{"prompt":` + graph("x.pngx[output]", "a") + `}`, 403},
		{"T9 another guest's input", `{"prompt":` + graph("guests/0123456789ab/x.png", "a") + `}`, 403},
		{"T9 another guest's input, by dots", `{"prompt":` + graph("./Guests/0123456789ab/x.png [input]", "a") + `}`, 403},
		{"T9 wrapped", `{"prompt":{"1":{"class_type":"LoadImage","inputs":{"image":{"__value__":"../login/PASSWORD"}}}}}`, 400},
		{"T9 by a link", `{"prompt":{"1":{"class_type":"PrimitiveString","inputs":{"value":"../x.png"}},"2":{"class_type":"LoadImage","inputs":{"image":["1",0]}}}}`, 400},
		{"saving elsewhere, wrapped", `{"prompt":{"1":{"class_type":"SaveImage","inputs":{"filename_prefix":{"__value__":"x"}}}}}`, 403},
		{"saving elsewhere, by a number", `{"prompt":{"1":{"class_type":"SaveImage","inputs":{"filename_prefix":7}}}}`, 403},
		{"saving elsewhere, by a link", `{"prompt":{"1":{"class_type":"SaveImage","inputs":{"filename_prefix":["1",0]}}}}`, 403},
		{"T21 a client_id that ends ComfyUI", `{"prompt":` + empty + `,"client_id":{}}`, 400},
		{"T22 a prompt_id that is no text", `{"prompt":` + empty + `,"prompt_id":7}`, 400},
		{"saving elsewhere", `{"prompt":` + graph("a.png", "../../x") + `}`, 400},
		{"a key twice", `{"prompt":{},"prompt":{}}`, 400},
		{"not JSON", `prompt`, 400},
		{"control", `{"prompt":` + empty + `,"client_id":"g1","number":-1000,"front":true}`, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := *h
			h.t = t
			h.comfy.ForgetRequests()
			got := h.do("POST", "/api/prompt", c.body, cookie, origin)
			h.wantStatus(got, c.want)
			if c.want != 200 {
				h.wantNothingSent()
				if !strings.Contains(got.body, `"node_errors"`) || !strings.Contains(got.body, `"message"`) {
					t.Errorf("not ComfyUI's shape: %s", got.body)
				}
			}
		})
	}
	t.Run("T21 another's client id", func(t *testing.T) {
		h := *h
		h.t = t
		h.wantStatus(h.do("POST", "/prompt", `{"prompt":`+empty+`,"client_id":"owners"}`, bearer), 200)
		h.wantStatus(h.do("POST", "/prompt", `{"prompt":`+empty+`,"client_id":"owners"}`, cookie, origin), 403)
		h.wantStatus(h.do("POST", "/prompt", `{"prompt":`+empty+`,"extra_data":{"client_id":"owners"}}`, cookie, origin), 403)
	})
	t.Run("T23 guests see and end only their own", func(t *testing.T) {
		h := *h
		h.t = t
		slow := `{"1":{"class_type":"EmptyImage","inputs":{"width":8,"height":8,"batch_size":1,"color":5}},"3":{"class_type":"LatchSlowImage","inputs":{"image":["1",0],"steps":200,"step_ms":50}},"2":{"class_type":"PreviewImage","inputs":{"images":["3",0]}}}`
		h.eventually("the guest's own prompt has ended", func() bool { return strings.Contains(h.get("/history", cookie).body, "x_00001_.png") })
		h.wantStatus(h.do("POST", "/prompt", `{"prompt":`+slow+`,"prompt_id":"11111111-1111-4111-8111-111111111111"}`, bearer), 200)
		h.eventually("the owner's prompt runs", func() bool { return strings.Contains(h.get("/queue", bearer).body, "1111") })
		if q := h.get("/queue", cookie).body; strings.Contains(q, "1111") {
			t.Errorf("the guest sees the owner's prompt: %s", q)
		}
		h.wantStatus(h.do("POST", "/interrupt", "", cookie, origin), 200)
		h.wantStatus(h.do("POST", "/interrupt", `{"prompt_id":"11111111-1111-4111-8111-111111111111"}`, cookie, origin), 200)
		h.wantStatus(h.do("POST", "/queue", `{"clear":true,"delete":["11111111-1111-4111-8111-111111111111"]}`, cookie, origin), 200)
		h.wantStatus(h.do("POST", "/history", `{"clear":true}`, cookie, origin), 200)
		if q := h.get("/queue", bearer).body; !strings.Contains(q, "1111") {
			t.Errorf("the guest ended the owner's prompt: %s", q)
		}
		h.eventually("the owner has ended it", func() bool { // one that comes just before the first node is lost, as in ComfyUI
			h.wantStatus(h.do("POST", "/interrupt", "", bearer), 200)
			return !strings.Contains(h.get("/queue", bearer).body, "1111")
		})
	})
	t.Run("T22 queue jumping", func(t *testing.T) {
		h := *h
		h.t = t
		h.eventually("a guest's history has their prompt", func() bool { return strings.Contains(h.get("/history", cookie).body, "x_00001_.png") })
		if b := h.get("/history", cookie).body; strings.Contains(b, "-1000") {
			t.Errorf("the number went upstream: %s", short(b))
		}
		if b := h.get("/history", cookie).body; strings.Contains(b, `"owners"`) || strings.Contains(b, "11111111") {
			t.Errorf("another's prompt is in the guest's history: %s", short(b))
		}
	})
	t.Run("guests view what they made", func(t *testing.T) {
		h := *h
		h.t = t
		h.wantStatus(h.get("/view?filename=x_00001_.png&type=output", cookie), 403)
		h.wantStatus(h.get("/view?filename=..%2Fx.png&type=temp", cookie), 403)
		h.wantStatus(h.get("/view?filename=x.png%20%5Boutput%5D&type=temp", cookie), 403)
		b := h.get("/history", cookie).body
		_, rest, _ := strings.Cut(b, `"subfolder":"`)
		if rest == "" {
			_, rest, _ = strings.Cut(b, `"subfolder": "`)
		}
		folder, _, _ := strings.Cut(rest, `"`)
		h.wantStatus(h.get("/view?filename=x_00001_.png&type=output&subfolder="+folder, cookie), 200)
	})
}
