package standin

import (
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

// objectinfo holds the definitions of our nodes as GET /object_info shows them, one file for
// each version. Validation reads them too, so that what is announced is what is checked.
//
//go:embed objectinfo/*.json
var objectinfo embed.FS

func ownNodes(version string) (*object, error) {
	f, err := objectinfo.Open("objectinfo/" + version + ".json")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v, err := parse(f)
	if err != nil {
		return nil, fmt.Errorf("read the node definitions of %s: %w", version, err)
	}
	return v.(*object), nil
}

// readObjectInfo reads Config.ObjectInfoFile.
func readObjectInfo(path string) (*object, error) {
	if path == "" {
		return obj(), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read extra node definitions: %w", err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("read extra node definitions from %s: %w", path, err)
		}
	}
	v, err := parse(r)
	if err != nil {
		return nil, fmt.Errorf("read extra node definitions from %s: %w", path, err)
	}
	o, ok := v.(*object)
	if !ok {
		return nil, errors.New("read extra node definitions from " + path + ": not a JSON object")
	}
	return o, nil
}

// nodeDef is one definition with what validation needs pulled out of it.
type nodeDef struct {
	class   string
	inputs  []inputDef
	returns []string
	output  bool     // its results are shown: a prompt needs at least one such node
	hidden  []string // inputs that the server fills in
}

type inputDef struct {
	name     string
	kind     string // "INT", "IMAGE", …; "COMBO" for a list of choices
	choices  list
	options  *object
	required bool
}

// config is the input's definition as error messages quote it.
func (d inputDef) config() list {
	if d.kind == "COMBO" {
		return list{d.choices, d.options}
	}
	return list{d.kind, d.options}
}

func (s *Server) def(class string) (nodeDef, bool) {
	o := s.defs.object(class)
	if o == nil {
		return nodeDef{}, false
	}
	d := nodeDef{class: class, inputs: inputDefs(o.object("input"), "required", true)}
	d.inputs = append(d.inputs, inputDefs(o.object("input"), "optional", false)...)
	if h := o.object("input").object("hidden"); h != nil {
		d.hidden = h.keys
	}
	outs, _ := o.get("output")
	for _, x := range outs.([]any) {
		d.returns = append(d.returns, x.(string))
	}
	out, _ := o.get("output_node")
	d.output = out == true
	return d, true
}

func inputDefs(input *object, group string, required bool) []inputDef {
	g := input.object(group)
	if g == nil {
		return nil
	}
	var defs []inputDef
	for _, name := range g.keys {
		c := g.vals[name].([]any)
		d := inputDef{name: name, required: required, options: obj()}
		switch kind := c[0].(type) {
		case string:
			d.kind = kind
		case []any:
			d.kind, d.choices = "COMBO", kind
		}
		if len(c) > 1 {
			d.options = c[1].(*object)
		}
		defs = append(defs, d)
	}
	return defs
}

// objectInfo is one node's definition with the choices that depend on the disk filled in.
func (s *Server) objectInfo(class string) *object {
	if o := s.defs.object(class); o != nil {
		if class == "LoadImage" || class == "LoadImageMask" {
			return withImages(o, s.inputImages())
		}
		return o
	}
	return s.extra.object(class)
}

// withImages copies a loader's definition and lists the pictures in input/, everybody's.
func withImages(o *object, images list) *object {
	o = o.clone()
	input := o.object("input").clone()
	required := input.object("required").clone()
	image := append(list{}, required.vals["image"].([]any)...)
	image[0] = images
	required.set("image", image)
	input.set("required", required)
	o.set("input", input)
	return o
}

func (s *Server) inputImages() list {
	all := list{}
	for _, name := range s.fileNames("input") {
		if strings.HasPrefix(contentType(name), "image/") {
			all = append(all, name)
		}
	}
	return all
}

// fileNames lists the files directly in one of our folders, sorted.
func (s *Server) fileNames(folder string) []string {
	d, err := s.root.Open(folder)
	if err != nil {
		return nil
	}
	defer d.Close()
	entries, _ := d.ReadDir(-1)
	var names []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), uploadPrefix) {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names
}
