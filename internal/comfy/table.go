package comfy

// Table is every route that we know, of ComfyUI 0.3.64 to 0.28 (server.py,
// app/*.py, api_server/), of ComfyUI-Manager 3.31 to 4.2, of the custom nodes
// that clients rely on, and our own. Policy, docs/roles.md and the tests all
// read this one table. The sources of each line are in the recordings and the
// route list that the stand-in is held to.
//
// A line holds for the path with "/api" in front too, unless it is Plain; a
// pattern that begins with "/api/" holds only so.
var Table = []Route{
	// Our own.
	{Methods: "*", Pattern: "/login", Least: Public, Answer: Login, Plain: true, Touches: "log in, first-time set-up"},
	{Methods: "*", Pattern: "/logout", Least: Public, Answer: Logout, Plain: true, Touches: "end one's session"},
	{Methods: "GET", Pattern: "/health", Least: Public, Answer: HealthPage, Touches: "is ComfyUI there, how long is the queue"},
	{Methods: "GET", Pattern: "/guest_mode", Least: Public, Answer: GuestMode, Touches: "is the visitor a guest"},
	{Methods: "*", Pattern: "/auth_login.html", Least: Public, Answer: AuthLogin, Plain: true, Touches: "log in with an API key"},
	{Methods: "GET", Pattern: "/auth_inject.js", Least: Public, Answer: AuthInject, Plain: true, Touches: "script that sends the browser token"},
	{Methods: "GET", Pattern: "/_latch/fe/{build}/{path...}", Least: Public, Answer: Build, Plain: true, Touches: "the frontend's scripts, styles and fonts, of one build"},
	{Methods: "POST", Pattern: "/_latch/refresh", Least: Guests, Answer: Refresh, Plain: true, Touches: "node definitions are asked for anew"},
	{Methods: "*", Pattern: "/_latch/{path...}", Least: Public, Answer: Latch, Plain: true, Touches: "account, administration, our assets; each page decides by role"},

	// The frontend's own files. These folders hold nothing but what the
	// comfyui-frontend-package ships; no ending ever makes a path public.
	{Methods: "GET", Pattern: "/assets/{path...}", Least: Public, Keep: KeepChecked, Plain: true, Touches: "the frontend's scripts, styles and fonts"},
	{Methods: "GET", Pattern: "/scripts/{path...}", Least: Public, Keep: KeepChecked, Plain: true, Touches: "the frontend's script shims"},
	{Methods: "GET", Pattern: "/fonts/{path...}", Least: Public, Keep: KeepChecked, Plain: true, Touches: "the frontend's fonts"},
	{Methods: "GET", Pattern: "/cursor/{path...}", Least: Public, Keep: KeepChecked, Plain: true, Touches: "the frontend's cursors"},
	{Methods: "GET", Pattern: "/materialdesignicons.min.css", Least: Public, Keep: KeepChecked, Plain: true, Touches: "the frontend's icons"},
	{Methods: "GET", Pattern: "/favicon.ico", Least: Public, Keep: KeepChecked, Plain: true, Touches: "the frontend's icon"},
	{Methods: "GET", Pattern: "/manifest.json", Least: Public, Keep: KeepChecked, Plain: true, Touches: "the frontend's web manifest"},
	{Methods: "GET", Pattern: "/user.css", Least: Guests, Keep: KeepChecked, Plain: true, Touches: "an owner's style sheet in the frontend folder"},
	{Methods: "GET", Pattern: "/extensions/{path...}", Least: Guests, Keep: KeepChecked, Touches: "scripts of core and custom nodes"},
	{Methods: "GET", Pattern: "/templates/{path...}", Least: Guests, Keep: KeepChecked, Plain: true, Touches: "workflow templates"},
	{Methods: "GET", Pattern: "/docs/{path...}", Least: Guests, Keep: KeepChecked, Plain: true, Touches: "node documentation"},

	// What the frontend needs to start.
	{Methods: "GET", Pattern: "/", Least: Guests, Answer: Page, Touches: "the frontend's page"},
	{Methods: "GET", Pattern: "/ws", Least: Guests, Answer: Socket, Touches: "events of one client", Stops: "ComfyUI #9706, taking over a client id"},
	{Methods: "GET", Pattern: "/extensions", Least: Guests, Keep: KeepChecked, Answer: Extensions, Touches: "list of browser extensions"},
	{Methods: "GET", Pattern: "/features", Least: Guests, Together: true, Touches: "server feature flags"},
	{Methods: "GET", Pattern: "/embeddings", Least: Guests, Together: true, Touches: "names of embeddings"},
	{Methods: "GET", Pattern: "/object_info", Least: Guests, Keep: KeepRenewed, Touches: "all node definitions, names of models and input files"},
	{Methods: "GET", Pattern: "/object_info/{class}", Least: Guests, Together: true, Touches: "one node definition"},
	{Methods: "GET", Pattern: "/i18n", Least: Guests, Keep: KeepChecked, Touches: "translations of custom nodes"},
	{Methods: "GET", Pattern: "/workflow_templates", Least: Guests, Keep: KeepChecked, Touches: "templates of custom nodes"},
	{Methods: "GET", Pattern: "/api/workflow_templates/{path...}", Least: Guests, Keep: KeepChecked, Touches: "templates of custom nodes"},
	{Methods: "GET", Pattern: "/global_subgraphs", Least: Guests, Keep: KeepChecked, Touches: "subgraph blueprints"},
	{Methods: "GET", Pattern: "/global_subgraphs/{id}", Least: Guests, Keep: KeepChecked, Touches: "one subgraph blueprint"},
	{Methods: "GET", Pattern: "/node_replacements", Least: Guests, Keep: KeepChecked, Touches: "table of renamed nodes"},
	{Methods: "GET", Pattern: "/users", Least: Guests, Together: true, Touches: "where settings are stored"},
	{Methods: "POST", Pattern: "/users", Least: Admins, Touches: "creates a ComfyUI user folder"},
	{Methods: "GET", Pattern: "/system_stats", Least: Guests, Answer: Own, Together: true, Touches: "versions, memory, devices; command line for administrators", Stops: "argv shows paths and flags"},

	// Prompts, queue, history.
	{Methods: "GET", Pattern: "/prompt", Least: Guests, Together: true, Touches: "length of the queue"},
	{Methods: "POST", Pattern: "/prompt", Least: Guests, Answer: Prompt, Touches: "queues a prompt", Stops: "CVE-2026-68771, CVE-2026-56673"},
	{Methods: "GET", Pattern: "/queue", Least: Guests, Answer: Own, Together: true, Touches: "running and waiting prompts"},
	{Methods: "POST", Pattern: "/queue", Least: Guests, Answer: Own, Touches: "removes waiting prompts"},
	{Methods: "POST", Pattern: "/interrupt", Least: Guests, Answer: Own, Touches: "stops the running prompt"},
	{Methods: "GET", Pattern: "/history", Least: Guests, Answer: Own, Together: true, Touches: "finished prompts"},
	{Methods: "GET", Pattern: "/history/{id}", Least: Guests, Answer: Own, Together: true, Touches: "one finished prompt"},
	{Methods: "POST", Pattern: "/history", Least: Guests, Answer: Own, Touches: "forgets finished prompts"},
	{Methods: "GET", Pattern: "/jobs", Least: Guests, Answer: Own, Together: true, Touches: "queue and history in one"},
	{Methods: "GET", Pattern: "/jobs/{id}", Least: Guests, Answer: Own, Together: true, Touches: "one job"},
	{Methods: "POST", Pattern: "/jobs/cancel", Least: Users, Run: true, Touches: "cancels jobs"},
	{Methods: "POST", Pattern: "/jobs/{id}/cancel", Least: Users, Run: true, Touches: "cancels a job"},
	{Methods: "POST", Pattern: "/free", Least: Users, Touches: "frees models and cache of everybody"},

	// Files.
	{Methods: "GET", Pattern: "/view", Least: Guests, Answer: Own, Touches: "a picture or other file of input, output or temp", Stops: "CVE-2024-10099, CVE-2026-56670"},
	{Methods: "POST", Pattern: "/upload/image", Least: Guests, Answer: Upload, Touches: "writes a file into input, temp or output"},
	{Methods: "POST", Pattern: "/upload/mask", Least: Guests, Answer: Upload, Touches: "writes a masked copy of a picture"},
	{Methods: "GET", Pattern: "/internal/files/{directory}", Least: Users, Plain: true, Together: true, Touches: "names of all files of a folder"},
	{Methods: "GET", Pattern: "/viewvideo", Least: Users, Touches: "a video through ffmpeg (VideoHelperSuite)"},
	{Methods: "GET", Pattern: "/vhs/viewvideo", Least: Users, Touches: "a video through ffmpeg (VideoHelperSuite)"},
	{Methods: "GET", Pattern: "/vhs/viewaudio", Least: Users, Touches: "sound through ffmpeg (VideoHelperSuite)"},
	{Methods: "GET", Pattern: "/vhs/queryvideo", Least: Users, Touches: "length of a video (VideoHelperSuite)"},
	{Methods: "GET", Pattern: "/vhs/getpath", Least: Admins, Touches: "lists the server's folders (VideoHelperSuite)"},
	{Methods: "GET", Pattern: "/getpath", Least: Admins, Touches: "lists the server's folders (VideoHelperSuite)"},

	// Models.
	{Methods: "GET", Pattern: "/models", Least: Users, Together: true, Touches: "kinds of models"},
	{Methods: "GET", Pattern: "/models/{folder}", Least: Users, Together: true, Touches: "names of models"},
	{Methods: "GET", Pattern: "/view_metadata/{folder}", Least: Users, Together: true, Touches: "a model's metadata"},
	{Methods: "GET", Pattern: "/experiment/models", Least: Guests, Answer: Blank, Together: true, Touches: "kinds of models and their folders"},
	{Methods: "GET", Pattern: "/experiment/models/{folder}", Least: Users, Together: true, Touches: "models with size and time"},
	{Methods: "GET", Pattern: "/experiment/models/preview/{folder}/{index}/{filename...}", Least: Users, Touches: "a model's preview picture", Stops: "CVE-2026-56671"},

	// Settings and saved workflows.
	{Methods: "GET", Pattern: "/settings", Least: Guests, Answer: Blank, Together: true, Touches: "all settings"},
	{Methods: "GET", Pattern: "/settings/{id}", Least: Guests, Answer: Blank, Together: true, Touches: "one setting"},
	{Methods: "POST", Pattern: "/settings", Least: Users, Touches: "changes settings"},
	{Methods: "POST", Pattern: "/settings/{id}", Least: Users, Touches: "changes a setting"},
	{Methods: "GET", Pattern: "/userdata", Least: Guests, Answer: Blank, Together: true, Touches: "list of saved workflows and other files"},
	{Methods: "GET", Pattern: "/v2/userdata", Least: Guests, Answer: Blank, Together: true, Touches: "list of saved workflows and other files"},
	{Methods: "GET POST DELETE", Pattern: "/userdata/{file%}", Least: Users, Touches: "a saved workflow or other file", Stops: "CVE-2025-67303, CVE-2026-56672"},
	{Methods: "POST", Pattern: "/userdata/{file%}/move/{dest%}", Least: Users, Touches: "renames a saved file", Stops: "CVE-2025-67303"},

	// Assets (off in ComfyUI unless --enable-assets). The newest ComfyUI asks
	// nobody whose an asset is, so all but looking is for administrators.
	{Methods: "GET", Pattern: "/api/assets", Least: Users, Together: true, Touches: "list of assets"},
	{Methods: "GET", Pattern: "/api/tags", Least: Users, Together: true, Touches: "tags of assets"},
	{Methods: "GET", Pattern: "/api/assets/tags/refine", Least: Users, Touches: "tags of assets"},
	{Methods: "GET", Pattern: "/api/assets/hash/{hash}", Least: Users, Touches: "is there a file with this hash"},
	{Methods: "GET", Pattern: "/api/assets/{id}", Least: Users, Touches: "an asset"},
	{Methods: "GET", Pattern: "/api/assets/{id}/content", Least: Users, Touches: "an asset's bytes"},
	{Methods: "POST", Pattern: "/api/assets", Least: Admins, Touches: "uploads an asset"},
	{Methods: "POST", Pattern: "/api/assets/from-hash", Least: Admins, Touches: "an asset from a known file"},
	{Methods: "PUT DELETE", Pattern: "/api/assets/{id}", Least: Admins, Touches: "changes or removes an asset"},
	{Methods: "POST DELETE", Pattern: "/api/assets/{id}/tags", Least: Admins, Touches: "changes an asset's tags"},
	{Methods: "GET", Pattern: "/api/assets/seed/status", Least: Admins, Touches: "progress of the scan"},
	{Methods: "POST", Pattern: "/api/assets/seed", Least: Admins, Touches: "scans all folders"},
	{Methods: "POST", Pattern: "/api/assets/seed/cancel", Least: Admins, Touches: "stops the scan"},
	{Methods: "POST", Pattern: "/api/assets/prune", Least: Admins, Touches: "removes lost assets"},

	// The server's inside.
	{Methods: "GET", Pattern: "/internal/logs", Least: Admins, Plain: true, Touches: "the log, with everybody's errors"},
	{Methods: "GET", Pattern: "/internal/logs/raw", Least: Admins, Plain: true, Touches: "the log, with everybody's errors"},
	{Methods: "PATCH", Pattern: "/internal/logs/subscribe", Least: Admins, Plain: true, Touches: "the log over a socket"},
	{Methods: "GET", Pattern: "/internal/folder_paths", Least: Admins, Plain: true, Touches: "the server's folders"},

	// The companion node (folder node/): for the gate itself.
	{Methods: "*", Pattern: "/comfylatch/{path...}", Least: Admins, Answer: Closed, Touches: "private pictures, between the gate and its companion node"},

	// krita-ai-diffusion's comfyui-tooling-nodes.
	{Methods: "GET", Pattern: "/etn/model_info", Least: Users, Together: true, Touches: "models and what they are"},
	{Methods: "GET", Pattern: "/etn/model_info/{folder}", Least: Users, Together: true, Touches: "models and what they are"},
	{Methods: "GET", Pattern: "/etn/languages", Least: Users, Together: true, Touches: "languages of the translator"},
	{Methods: "GET", Pattern: "/etn/translate/{language}/{text...}", Least: Users, Touches: "translates a prompt"},
	{Methods: "GET PUT", Pattern: "/etn/image/{id}", Least: Users, Run: true, Touches: "pictures in ComfyUI's memory"},
	{Methods: "POST", Pattern: "/etn/workflow/publish", Least: Users, Touches: "workflows shared with krita"},
	{Methods: "POST", Pattern: "/etn/workflow/subscribe", Least: Users, Touches: "workflows shared with krita"},
	{Methods: "POST", Pattern: "/etn/workflow/unsubscribe", Least: Users, Touches: "workflows shared with krita"},
	{Methods: "PUT", Pattern: "/etn/upload/{path...}", Least: Admins, Touches: "writes models"},

	// ComfyUI-Manager installs code: all of it is for administrators. It would
	// be so without these lines; they stand here to be seen and tested.
	{Methods: "*", Pattern: "/manager/{path...}", Least: Admins, Touches: "ComfyUI-Manager: settings, restart, queue", Stops: "CVE-2026-22777"},
	{Methods: "*", Pattern: "/customnode/{path...}", Least: Admins, Touches: "ComfyUI-Manager: installs code"},
	{Methods: "*", Pattern: "/snapshot/{path...}", Least: Admins, Touches: "ComfyUI-Manager: snapshots"},
	{Methods: "*", Pattern: "/comfyui_manager/{path...}", Least: Admins, Touches: "ComfyUI-Manager: versions"},
	{Methods: "*", Pattern: "/externalmodel/{path...}", Least: Admins, Touches: "ComfyUI-Manager: models"},
	{Methods: "*", Pattern: "/v2/manager/{path...}", Least: Admins, Touches: "ComfyUI-Manager 4"},
	{Methods: "*", Pattern: "/v2/customnode/{path...}", Least: Admins, Touches: "ComfyUI-Manager 4: installs code"},
	{Methods: "*", Pattern: "/v2/snapshot/{path...}", Least: Admins, Touches: "ComfyUI-Manager 4: snapshots"},
	{Methods: "*", Pattern: "/v2/comfyui_manager/{path...}", Least: Admins, Touches: "ComfyUI-Manager 4: versions"},
	{Methods: "*", Pattern: "/v2/externalmodel/{path...}", Least: Admins, Touches: "ComfyUI-Manager 4: models"},

	// ComfyUI answers any OPTIONS with an empty 200.
	{Methods: "OPTIONS", Pattern: "/{path...}", Least: Guests, Touches: "nothing"},
}
