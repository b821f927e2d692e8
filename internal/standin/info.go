package standin

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strings"
)

// getObjectInfo lists every node definition, ours and those of Config.ObjectInfoFile.
func (s *Server) getObjectInfo(w http.ResponseWriter, _ *http.Request, _ []string) {
	all := s.extra.clone()
	for _, class := range s.defs.keys {
		all.set(class, s.objectInfo(class))
	}
	answer(w, http.StatusOK, all)
}

func (s *Server) getObjectInfoOf(w http.ResponseWriter, _ *http.Request, params []string) {
	out := obj()
	if o := s.objectInfo(params[0]); o != nil {
		out.set(params[0], o)
	}
	answer(w, http.StatusOK, out)
}

// features are the server's feature flags.
func (s *Server) features() *object {
	o := obj("supports_preview_metadata", true, "max_upload_size", s.cfg.MaxUpload)
	if s.profile.modern {
		o.set("extension", obj("manager", obj("supports_v4", true)))
		o.set("node_replacements", true)
		o.set("assets", false)
	}
	return o
}

func (s *Server) getFeatures(w http.ResponseWriter, _ *http.Request, _ []string) {
	answer(w, http.StatusOK, s.features())
}

// getSystemStats invents a small machine without a graphics card.
func (s *Server) getSystemStats(w http.ResponseWriter, _ *http.Request, _ []string) {
	const total, free, templates = 16 << 30, 12 << 30, "0.9.98"
	os, required := "posix", "0.1.95"
	if s.profile.modern {
		os, required = "linux", templates
	}
	sys := obj("os", os, "ram_total", total, "ram_free", free, "comfyui_version", s.profile.Version,
		"required_frontend_version", s.profile.frontEnd, "installed_templates_version", templates, "required_templates_version", required)
	if s.profile.modern {
		pkg := func(name, v string) *object { return obj("name", name, "installed", v, "required", v) }
		sys.set("comfy_package_versions", list{pkg("comfyui-frontend-package", s.profile.frontEnd), pkg("comfyui-workflow-templates", templates)})
	}
	sys.set("python_version", "3.11.7 (comfylatch stand-in)")
	sys.set("pytorch_version", "2.15.0+cpu")
	sys.set("embedded_python", false)
	if s.profile.modern {
		sys.set("deploy_environment", "local-git")
	}
	sys.set("argv", list{"main.py", "--cpu"})
	answer(w, http.StatusOK, obj("system", sys, "devices", list{obj("name", "cpu", "type", "cpu", "index", nil,
		"vram_total", total, "vram_free", free, "torch_vram_total", total, "torch_vram_free", free)}))
}

// modelFolders are the folders of one kind of model, below Dir.
func modelFolders(kind string) []string {
	in := func(names ...string) (dirs []string) {
		for _, n := range names {
			dirs = append(dirs, "models/"+n)
		}
		return dirs
	}
	switch kind {
	case "custom_nodes":
		return []string{"custom_nodes"}
	case "text_encoders":
		return append(in("text_encoders", "clip"), "output/clip")
	case "diffusion_models":
		return append(in("unet", "diffusion_models"), "output/diffusion_models")
	case "controlnet":
		return in("controlnet", "t2i_adapter")
	case "checkpoints", "loras", "vae":
		return append(in(kind), "output/"+kind)
	}
	return in(kind)
}

func (s *Server) knownModels(kind string) bool {
	for _, m := range s.profile.models {
		if m == kind {
			return true
		}
	}
	return false
}

func (s *Server) getModels(w http.ResponseWriter, _ *http.Request, _ []string) {
	answer(w, http.StatusOK, s.profile.models)
}

func (s *Server) getModelsOf(w http.ResponseWriter, _ *http.Request, params []string) {
	if !s.knownModels(params[0]) {
		empty(w, http.StatusNotFound)
		return
	}
	names := list{}
	for _, dir := range modelFolders(params[0]) {
		s.walk(dir, true, func(rel string, info os.FileInfo) {
			if !info.IsDir() {
				names = append(names, rel)
			}
		})
	}
	answer(w, http.StatusOK, names)
}

func (s *Server) getEmbeddings(w http.ResponseWriter, _ *http.Request, _ []string) {
	names := list{}
	s.walk("models/embeddings", true, func(rel string, info os.FileInfo) {
		if !info.IsDir() {
			names = append(names, strings.TrimSuffix(rel, path.Ext(rel)))
		}
	})
	answer(w, http.StatusOK, names)
}

func (s *Server) absFolders(kind string) list {
	var dirs list
	for _, d := range modelFolders(kind) {
		dirs = append(dirs, s.abs(d))
	}
	return dirs
}

func (s *Server) getFolderPaths(w http.ResponseWriter, _ *http.Request, _ []string) {
	out := obj()
	for _, m := range s.profile.models {
		out.set(m, s.absFolders(m))
	}
	answer(w, http.StatusOK, out)
}

// getModelFolders leaves out the two folders that hold no models.
func (s *Server) getModelFolders(w http.ResponseWriter, _ *http.Request, _ []string) {
	out := list{}
	for _, m := range s.profile.models {
		if m != "configs" && m != "custom_nodes" {
			out = append(out, obj("name", m, "folders", s.absFolders(m)))
		}
	}
	answer(w, http.StatusOK, out)
}

func (s *Server) getModelFiles(w http.ResponseWriter, _ *http.Request, params []string) {
	if !s.knownModels(params[0]) {
		empty(w, http.StatusNotFound)
		return
	}
	out := list{}
	for i, dir := range modelFolders(params[0]) {
		s.walk(dir, true, func(rel string, info os.FileInfo) {
			if !info.IsDir() {
				at := float64(info.ModTime().UnixNano()) / 1e9
				out = append(out, obj("name", rel, "pathIndex", i, "modified", at, "created", at, "size", info.Size()))
			}
		})
	}
	answer(w, http.StatusOK, out)
}

// getModelPreview knows no previews.
func (s *Server) getModelPreview(w http.ResponseWriter, _ *http.Request, params []string) {
	if s.knownModels(params[0]) && params[1] != "0" {
		crash(w)
		return
	}
	empty(w, http.StatusNotFound)
}

// getModelMetadata reads __metadata__ from the header of a safetensors file.
func (s *Server) getModelMetadata(w http.ResponseWriter, r *http.Request, params []string) {
	name, _ := query(r, "filename")
	if !strings.HasSuffix(name, ".safetensors") || !s.knownModels(params[0]) || !inside(name) {
		empty(w, http.StatusNotFound)
		return
	}
	for _, dir := range modelFolders(params[0]) {
		f, err := s.open(path.Join(dir, name))
		if err != nil {
			continue
		}
		defer f.Close()
		meta, err := safetensorsMetadata(f)
		if err != nil || meta == nil {
			break
		}
		answer(w, http.StatusOK, meta)
		return
	}
	empty(w, http.StatusNotFound)
}

func safetensorsMetadata(f io.Reader) (*object, error) {
	var size uint64
	if err := binary.Read(f, binary.LittleEndian, &size); err != nil {
		return nil, err
	}
	const limit = 8 << 20
	if size > limit {
		return nil, fmt.Errorf("a header of %d bytes", size)
	}
	v, err := parse(io.LimitReader(f, int64(size)))
	if err != nil {
		return nil, err
	}
	header, _ := v.(*object)
	return header.object("__metadata__"), nil
}

// getFiles lists input, output or temp; 0.24.0 says in each name which.
func (s *Server) getFiles(w http.ResponseWriter, _ *http.Request, params []string) {
	kind := params[0]
	if kind != "input" && kind != "output" && kind != "temp" {
		answer(w, http.StatusBadRequest, obj("error", "Invalid directory type"))
		return
	}
	out := list{}
	for _, name := range s.fileNames(kind) {
		if s.profile.modern {
			name += " [" + kind + "]"
		}
		out = append(out, name)
	}
	answer(w, http.StatusOK, out)
}
