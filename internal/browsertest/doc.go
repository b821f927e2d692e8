// Package browsertest tries the gate as people meet it: in Chromium, with
// ComfyUI's real frontend, through the real command.
//
// Each test builds the same house: a ComfyUI (the stand-in with a real
// frontend, two versions of it), the comfylatch binary as a process in front of
// it, and a browser that knows neither. Nothing is looked at from inside: what
// a test knows, a visitor could know, or ComfyUI itself.
//
// It needs Chromium (COMFYLATCH_BROWSER, or chromium on the PATH) and a folder
// with frontend-<version>/comfyui_frontend_package/static (COMFYLATCH_FRONTENDS);
// ./test browser sees to both. Without them the tests are skipped. With
// COMFYUI_URL they run in front of that real ComfyUI as well: they leave
// pictures in its output folder and may change its settings. With
// COMFYUI_COMMAND, a shell command that starts ComfyUI at COMFYUI_URL, the tests
// start it themselves, and can also try what happens when it dies.
//
// COMFYLATCH_SCREENSHOTS=DIR writes pictures of the pages into DIR, and one of
// the page for each test that fails. The pictures of docs/images are made so:
//
//	COMFYLATCH_SCREENSHOTS=docs/images ./test browser -run Pictures
//
// The rule: a test waits for what it can see and never for a time to pass, and
// none asserts how long something took.
package browsertest
