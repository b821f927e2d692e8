package comfy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// CheckFiles refuses inputs that name files outside ComfyUI's folders.
// ComfyUI 0.3.64 and 0.24 join what a loader is given to the input folder
// without a look (CVE-2026-56673, folder_paths.get_annotated_filepath), so
// "../login/PASSWORD" and "/etc/passwd" work there.
//
// For the core loaders that is never right. Which input of which custom node
// is a file is not known, and some take absolute paths on purpose: an
// administrator may use those (everyNode is false). For others a
// text input counts as a file when it is called like one or its node is a
// loader, and everything else that is nothing but a climbing path; prose must
// pass ("a cat, 16/9, and so on ..."). And for others the file of a core loader
// must stand in its input: by a link to nodes that make text, a name would come
// that nobody here has seen (ComfyUI 0.24: PrimitiveString to Painter).
func (p *PromptBody) CheckFiles(everyNode bool) error {
	for _, n := range p.nodes {
		refuse := func(details string) error {
			return &PromptError{Type: "value_not_allowed", Message: "A file name is not allowed", Details: details, NodeID: n.ID, Class: n.Class}
		}
		inputs, loader := coreLoaders[n.Class]
		for _, m := range n.Inputs {
			if everyNode && slices.Contains(inputs, m.Key) && isLink(m.Value) {
				return refuse(m.Key + ": the name of a file must stand here, not a link")
			}
			for _, s := range Texts(m.Value) {
				if escapes(s) && (loader || everyNode && likeAFile(n.Class, m.Key, s)) {
					return refuse(fmt.Sprintf("%s: %q leads out of ComfyUI's folders", m.Key, short(s)))
				}
			}
		}
	}
	return nil
}

// coreLoaders are ComfyUI's own nodes that read a file of the input folder, and
// their inputs that name it (nodes.py,
// comfy_extras/nodes_{audio,video,load_3d,dataset,painter,webcam}.py).
var coreLoaders = map[string][]string{
	"LoadImage": {"image"}, "LoadImageMask": {"image"}, "LoadImageOutput": {"image"}, "LoadLatent": {"latent"}, "LoadAudio": {"audio"}, "LoadVideo": {"file"},
	"Load3D": {"model_file", "image"}, "Load3DAnimation": {"model_file", "image"}, "LoadImageSetFromFolderNode": {"folder"}, "LoadImageTextSetFromFolderNode": {"folder"},
	"LoadImageDataSetFromFolder": {"folder"}, "LoadImageTextDataSetFromFolder": {"folder"}, "LoadTrainingDataset": {"folder_name"},
	"Painter": {"mask"}, "WebcamCapture": {"image"}, "LoadImageIncognito": {"image"},
}

// isLink tells a link to another node: ["4", 0].
func isLink(v any) bool {
	list, ok := v.([]any)
	if !ok || len(list) != 2 {
		return false
	}
	_, ok = list[1].(json.Number)
	return ok
}

// Texts are the strings of an input's value: itself, or what stands in its
// lists and objects, unless it is a link. ComfyUI takes {"__value__": x} for x
// (execution.py, validate_inputs).
func Texts(v any) []string {
	if isLink(v) {
		return nil
	}
	return allTexts(v)
}

func allTexts(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, e := range v {
			all = append(all, allTexts(e)...)
		}
	case Object:
		for _, m := range v {
			all = append(all, allTexts(m.Value)...)
		}
	}
	return all
}

// CutAnnotation splits "a.png [output]" as ComfyUI does: whatever stands before
// the bracket goes with it (folder_paths.annotated_filepath). kind is "" where
// there is no annotation.
func CutAnnotation(name string) (base, kind string) {
	for _, kind := range []string{"output", "input", "temp"} {
		if rest, ok := strings.CutSuffix(name, "["+kind+"]"); ok {
			_, size := utf8.DecodeLastRuneInString(rest)
			return rest[:len(rest)-size], kind
		}
	}
	return name, ""
}

// likeAFile tells whether an input that escapes is one that a node would open.
func likeAFile(class, input, value string) bool {
	return namesFile(class, input) || strings.Contains(value, "..") && !strings.ContainsAny(value, " \n,")
}

// namesFile tells inputs that take a file's name.
func namesFile(class, input string) bool {
	switch strings.ToLower(input) {
	case "image", "images", "mask", "video", "audio", "file", "filename", "filename_prefix", "path", "directory", "folder", "model_file", "image_path", "video_path", "subfolder", "latent":
		return true
	}
	l := strings.ToLower(input)
	return strings.HasPrefix(class, "Load") || strings.HasSuffix(l, "_file") || strings.HasSuffix(l, "_path") || strings.HasSuffix(l, "_name") || strings.HasSuffix(l, "_dir")
}

// escapes tells whether a name is absolute or climbs: with either separator,
// and a drive or a share as Windows has them.
func escapes(name string) bool {
	s := strings.ReplaceAll(strings.TrimSpace(name), `\`, "/")
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "~") || strings.ContainsRune(s, 0) {
		return true
	}
	if len(s) > 2 && s[1] == ':' && s[2] == '/' {
		return true
	}
	for part := range strings.SplitSeq(s, "/") {
		if strings.TrimRight(part, " ") == ".." {
			return true
		}
	}
	return false
}
