package standin

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"sort"
	"strings"
)

// userPath is the path below Dir of a file of the (only) user; false when it leads elsewhere.
func userPath(name string) (string, bool) {
	return userFolder + "/" + path.Clean(name), inside(name)
}

// fileInfo is the shape of full_info. Times are seconds in 0.3.64 and milliseconds in 0.24.0.
func (s *Server) fileInfo(shown string, info os.FileInfo) *object {
	var at any = float64(info.ModTime().UnixNano()) / 1e9
	if s.profile.modern {
		at = info.ModTime().UnixMilli()
	}
	return obj("path", shown, "size", info.Size(), "modified", at, "created", at)
}

// listUserdata is GET /userdata?dir=&recurse=&full_info=&split=.
func (s *Server) listUserdata(w http.ResponseWriter, r *http.Request, _ []string) {
	dir, _ := query(r, "dir")
	if dir == "" {
		text(w, http.StatusBadRequest, "Directory not provided")
		return
	}
	p, ok := userPath(dir)
	if !ok {
		text(w, http.StatusForbidden, "Invalid directory")
		return
	}
	if info, err := s.root.Stat(p); err != nil || !info.IsDir() {
		text(w, http.StatusNotFound, "Directory not found")
		return
	}
	is := func(name string) bool { v, _ := query(r, name); return strings.EqualFold(v, "true") }
	out := list{}
	s.walk(p, is("recurse"), func(rel string, info os.FileInfo) {
		switch {
		case info.IsDir():
		case is("full_info"):
			out = append(out, s.fileInfo(rel, info))
		case is("split"):
			out = append(out, append(list{rel}, anys(strings.Split(rel, "/"))...))
		default:
			out = append(out, rel)
		}
	})
	answer(w, http.StatusOK, out)
}

// walk visits what is below a folder: folders in order, the files of each before its folders.
func (s *Server) walk(dir string, deep bool, visit func(rel string, info os.FileInfo)) {
	var dirs []string
	for todo := []string{""}; len(todo) > 0; todo = append(dirs, todo[1:]...) {
		dirs = nil
		d, err := s.root.Open(path.Join(dir, todo[0]))
		if err != nil {
			continue
		}
		entries, _ := d.ReadDir(-1)
		d.Close()
		sort.Slice(entries, func(i, k int) bool { return entries[i].Name() < entries[k].Name() })
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				continue
			}
			rel := path.Join(todo[0], e.Name())
			visit(rel, info)
			if info.IsDir() && deep {
				dirs = append(dirs, rel)
			}
		}
	}
}

// listUserdataV2 is GET /v2/userdata?path=: everything below, folders first.
func (s *Server) listUserdataV2(w http.ResponseWriter, r *http.Request, _ []string) {
	dir, _ := query(r, "path")
	if dir == "" {
		dir = "."
	}
	p, ok := userPath(dir)
	if !ok {
		text(w, http.StatusBadRequest, "Invalid path requested")
		return
	}
	info, err := s.root.Stat(p)
	if err != nil {
		text(w, http.StatusNotFound, "Requested path not found")
		return
	}
	if !info.IsDir() {
		text(w, http.StatusBadRequest, "Requested path is not a directory")
		return
	}
	dirs, files := list{}, list{}
	s.walk(p, true, func(rel string, info os.FileInfo) {
		o := obj("name", info.Name(), "path", path.Join(path.Clean(dir), rel))
		if info.IsDir() {
			o.set("type", "directory")
			dirs = append(dirs, o)
			return
		}
		o.set("type", "file")
		o.set("size", info.Size())
		o.set("modified", float64(info.ModTime().UnixNano())/1e9)
		files = append(files, o)
	})
	answer(w, http.StatusOK, append(dirs, files...))
}

func (s *Server) getUserdata(w http.ResponseWriter, r *http.Request, params []string) {
	p, ok := userPath(params[0])
	if !ok {
		empty(w, http.StatusForbidden)
		return
	}
	f, err := s.open(p)
	if err != nil {
		empty(w, http.StatusNotFound)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.IsDir() {
		chunked(w, http.StatusForbidden)
		return
	}
	serveFile(w, r, f, info, contentType(p))
}

// postUserdata is POST /userdata/{file}?overwrite=&full_info=: the body is the file.
func (s *Server) postUserdata(w http.ResponseWriter, r *http.Request, params []string) {
	if strings.ContainsRune(params[0], 0) {
		crash(w)
		return
	}
	p, ok := userPath(params[0])
	if !ok {
		empty(w, http.StatusForbidden)
		return
	}
	if v, _ := query(r, "overwrite"); v == "false" && s.exists(p) {
		text(w, http.StatusConflict, "File already exists")
		return
	}
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	err := s.root.MkdirAll(path.Dir(p), 0o755)
	if err == nil {
		err = s.root.WriteFile(p, body, 0o644)
	}
	if err != nil {
		empty(w, http.StatusBadRequest)
		return
	}
	s.answerFile(w, r, p)
}

// answerFile names a file just written, or describes it with full_info=true.
func (s *Server) answerFile(w http.ResponseWriter, r *http.Request, p string) {
	shown := strings.TrimPrefix(p, userFolder+"/")
	if v, _ := query(r, "full_info"); !strings.EqualFold(v, "true") {
		answer(w, http.StatusOK, shown)
		return
	}
	info, err := s.root.Stat(p)
	if err != nil {
		crash(w)
		return
	}
	answer(w, http.StatusOK, s.fileInfo(shown, info))
}

func (s *Server) deleteUserdata(w http.ResponseWriter, _ *http.Request, params []string) {
	p, ok := userPath(params[0])
	if !ok {
		empty(w, http.StatusForbidden)
		return
	}
	info, err := s.root.Stat(p)
	if err != nil {
		empty(w, http.StatusNotFound)
		return
	}
	if info.IsDir() || s.root.Remove(p) != nil {
		crash(w)
		return
	}
	empty(w, http.StatusNoContent)
}

// moveUserdata is POST /userdata/{file}/move/{dest}?overwrite=&full_info=.
func (s *Server) moveUserdata(w http.ResponseWriter, r *http.Request, params []string) {
	from, ok := userPath(params[0])
	if !ok {
		empty(w, http.StatusForbidden)
		return
	}
	if !s.exists(from) {
		empty(w, http.StatusNotFound)
		return
	}
	to, ok := userPath(params[1])
	if !ok {
		if s.profile.modern {
			empty(w, http.StatusForbidden)
		} else {
			crash(w) // 0.3.64 did not check what came back
		}
		return
	}
	if v, _ := query(r, "overwrite"); v == "false" && s.exists(to) {
		text(w, http.StatusConflict, "File already exists")
		return
	}
	err := s.root.MkdirAll(path.Dir(to), 0o755)
	if err == nil {
		err = s.root.Rename(from, to)
	}
	if err != nil {
		crash(w)
		return
	}
	s.answerFile(w, r, to)
}

// The settings are one JSON file of the user.
const settingsFile = userFolder + "/comfy.settings.json"

func (s *Server) readSettings() (*object, error) {
	f, err := s.root.Open(settingsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return obj(), nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v, err := parse(f)
	if err != nil {
		return nil, err
	}
	o, ok := v.(*object)
	if !ok {
		return nil, errors.New("the settings are not a JSON object")
	}
	return o, nil
}

func (s *Server) getSettings(w http.ResponseWriter, _ *http.Request, _ []string) {
	s.settings.Lock()
	defer s.settings.Unlock()
	o, err := s.readSettings()
	if err != nil {
		crash(w)
		return
	}
	answer(w, http.StatusOK, o)
}

func (s *Server) getSetting(w http.ResponseWriter, _ *http.Request, params []string) {
	s.settings.Lock()
	defer s.settings.Unlock()
	o, err := s.readSettings()
	if err != nil {
		crash(w)
		return
	}
	v, _ := o.get(params[0])
	answer(w, http.StatusOK, v)
}

// postSettings merges the body's keys into the settings.
func (s *Server) postSettings(w http.ResponseWriter, r *http.Request, _ []string) {
	v, ok := readJSON(w, r)
	if !ok {
		return
	}
	o, isObject := v.(*object)
	if !isObject {
		crash(w)
		return
	}
	s.mergeSettings(w, o)
}

func (s *Server) postSetting(w http.ResponseWriter, r *http.Request, params []string) {
	if v, ok := readJSON(w, r); ok {
		s.mergeSettings(w, obj(params[0], v))
	}
}

func (s *Server) mergeSettings(w http.ResponseWriter, more *object) {
	s.settings.Lock()
	defer s.settings.Unlock()
	o, err := s.readSettings()
	if err == nil {
		for _, k := range more.keys {
			o.set(k, more.vals[k])
		}
		err = s.root.WriteFile(settingsFile, dumps(o), 0o644)
	}
	if err != nil {
		crash(w)
		return
	}
	empty(w, http.StatusOK)
}

func (s *Server) getUsers(w http.ResponseWriter, _ *http.Request, _ []string) {
	answer(w, http.StatusOK, obj("storage", "server", "migrated", true))
}

// postUsers makes a user id. ComfyUI also writes it to users.json, which has no effect without
// --multi-user; that file is not written here.
func (s *Server) postUsers(w http.ResponseWriter, r *http.Request, _ []string) {
	v, ok := readJSON(w, r)
	if !ok {
		return
	}
	body, _ := v.(*object)
	value, _ := body.get("username")
	name, isString := value.(string)
	if !isString {
		crash(w)
		return
	}
	name = strings.TrimSpace(name)
	switch {
	case name == "" && !s.profile.modern:
		crash(w)
		return
	case name == "":
		answer(w, http.StatusBadRequest, obj("error", "username not provided"))
		return
	}
	id := strings.Map(func(c rune) rune {
		if c < 128 && (c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			return c
		}
		return '-'
	}, name)
	answer(w, http.StatusOK, id+"_"+newUUID())
}
