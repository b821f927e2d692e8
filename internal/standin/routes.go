package standin

import "net/http"

// addRoutes registers what ComfyUI registers. `both` routes exist twice, as /x and /api/x;
// the /internal ones and the assets do not.
func (s *Server) addRoutes() {
	both := func(method, pattern string, h handler) {
		s.router.handle(method, pattern, h)
		s.router.handle(method, "/api"+pattern, h)
	}
	both("GET", "/", s.getIndex)
	both("GET", "/ws", s.getWS)
	both("GET", "/prompt", s.getPrompt)
	both("POST", "/prompt", s.postPrompt)
	both("GET", "/queue", s.getQueue)
	both("POST", "/queue", s.postQueue)
	both("GET", "/history", s.getHistory)
	both("GET", "/history/{id}", s.getHistoryOf)
	both("POST", "/history", s.postHistory)
	both("POST", "/interrupt", s.postInterrupt)
	both("POST", "/free", s.postFree)

	both("GET", "/view", s.getView)
	both("POST", "/upload/image", s.postUploadImage)
	both("POST", "/upload/mask", s.postUploadMask)

	both("GET", "/settings", s.getSettings)
	both("POST", "/settings", s.postSettings)
	both("GET", "/settings/{id}", s.getSetting)
	both("POST", "/settings/{id}", s.postSetting)
	both("GET", "/users", s.getUsers)
	both("POST", "/users", s.postUsers)
	both("GET", "/userdata", s.listUserdata)
	both("GET", "/v2/userdata", s.listUserdataV2)
	both("GET", "/userdata/{file}", s.getUserdata)
	both("POST", "/userdata/{file}", s.postUserdata)
	both("DELETE", "/userdata/{file}", s.deleteUserdata)
	both("POST", "/userdata/{file}/move/{dest}", s.moveUserdata)
	s.addInfoRoutes(both)
}

// addInfoRoutes registers what tells about the server itself.
func (s *Server) addInfoRoutes(both func(method, pattern string, h handler)) {
	once := s.router.handle
	both("GET", "/object_info", s.getObjectInfo)
	both("GET", "/object_info/{class}", s.getObjectInfoOf)
	both("GET", "/system_stats", s.getSystemStats)
	both("GET", "/features", s.getFeatures)
	both("GET", "/extensions", s.getExtensions)
	both("GET", "/embeddings", s.getEmbeddings)
	both("GET", "/models", s.getModels)
	both("GET", "/models/{folder}", s.getModelsOf)
	both("GET", "/view_metadata/{folder}", s.getModelMetadata)
	both("GET", "/experiment/models", s.getModelFolders)
	both("GET", "/experiment/models/{folder}", s.getModelFiles)
	both("GET", "/experiment/models/preview/{folder}/{index}/{file...}", s.getModelPreview)
	both("GET", "/i18n", constant(obj()))
	both("GET", "/workflow_templates", constant(obj()))

	once("GET", "/internal/logs", s.getLogs)
	once("GET", "/internal/logs/raw", s.getLogsRaw)
	once("PATCH", "/internal/logs/subscribe", s.patchLogsSubscribe)
	once("GET", "/internal/folder_paths", s.getFolderPaths)
	once("GET", "/internal/files/{type}", s.getFiles)

	// ComfyUI serves these two from the packages installed beside its front end. The list of
	// templates is empty here, which keeps the front end quiet.
	once("GET", "/templates/index.json", constant(list{}))

	if s.profile.modern {
		both("GET", "/api/jobs", s.getJobs) // sic: its twin is /api/api/jobs
		both("GET", "/api/jobs/{id}", s.getJob)
		both("GET", "/global_subgraphs", constant(obj()))
		both("GET", "/global_subgraphs/{id}", constant(nil))
		both("GET", "/node_replacements", constant(obj()))
		s.addAssets()
	}
}

// addAssets registers the asset routes, which answer 503 unless ComfyUI runs with
// --enable-assets.
func (s *Server) addAssets() {
	disabled := func(w http.ResponseWriter, _ *http.Request, _ []string) {
		answer(w, http.StatusServiceUnavailable, obj("error", obj("code", "SERVICE_DISABLED",
			"message", "Assets system is disabled. Start the server with --enable-assets to use this feature.", "details", obj())))
	}
	for pattern, methods := range map[string][]string{
		"/api/assets":              {"GET", "POST"},
		"/api/assets/from-hash":    {"POST"},
		"/api/assets/hash/{hash}":  {"HEAD"},
		"/api/assets/tags/refine":  {"GET"},
		"/api/assets/seed":         {"POST"},
		"/api/assets/seed/status":  {"GET"},
		"/api/assets/seed/cancel":  {"POST"},
		"/api/assets/prune":        {"POST"},
		"/api/assets/{id}/content": {"GET"},
		"/api/assets/{id}/tags":    {"POST", "DELETE"},
		"/api/tags":                {"GET"},
	} {
		for _, m := range methods {
			s.router.handle(m, pattern, disabled)
		}
	}
}

func constant(v any) handler {
	return func(w http.ResponseWriter, _ *http.Request, _ []string) { answer(w, http.StatusOK, v) }
}
