package browsertest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	cd "github.com/chromedp/chromedp"
)

func TestMain(m *testing.M) {
	status := m.Run()
	chromium.stop()
	os.RemoveAll(work())
	os.Exit(status)
}

// work is the folder for what all tests share: the binary and the browser's
// profile.
var work = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "comfylatch-browsertest-")
	if err != nil {
		panic(err)
	}
	return dir
})

// gateBinary builds the command once.
var gateBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(work(), "comfylatch")
	out, err := exec.Command("go", "build", "-o", path, "comfylatch/cmd/comfylatch").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the gate: %w\n%s", err, out)
	}
	return path, nil
})

// browser is the one Chromium of all tests. Each visitor has a profile of their
// own in it.
type browser struct {
	once    sync.Once
	context context.Context
	err     error
}

var chromium browser

func browserPath() string {
	if path := os.Getenv("COMFYLATCH_BROWSER"); path != "" {
		return path
	}
	path, _ := exec.LookPath("chromium")
	return path
}

func (b *browser) start() (context.Context, error) {
	b.once.Do(func() {
		options := append(cd.DefaultExecAllocatorOptions[:], cd.ExecPath(browserPath()), cd.UserDataDir(filepath.Join(work(), "profile")),
			cd.NoSandbox, cd.DisableGPU, cd.Flag("disable-quic", true), cd.Flag("disable-component-update", true), cd.Flag("hide-scrollbars", true),
			// No test depends on what is out there, or waits for it.
			cd.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))
		ctx, _ := cd.NewExecAllocator(context.Background(), options...)
		b.context, _ = cd.NewContext(ctx)
		b.err = cd.Do(b.context)
	})
	return b.context, b.err
}

func (b *browser) stop() {
	if b.context == nil {
		return
	}
	ctx, cancel := context.WithTimeout(b.context, 10*time.Second)
	defer cancel()
	cd.Cancel(ctx)
}

// frontEnd gives the static folder of a frontend, "" where there is none.
func frontEnd(version string) string {
	dir := os.Getenv("COMFYLATCH_FRONTENDS")
	if dir == "" {
		return ""
	}
	dir = filepath.Join(dir, "frontend-"+version, "comfyui_frontend_package", "static")
	if _, err := os.Stat(filepath.Join(dir, "index.html")); err != nil {
		return ""
	}
	return dir
}

// needBrowser skips where the tests cannot run.
func needBrowser(t *testing.T) {
	t.Helper()
	if browserPath() == "" {
		t.Skip("no Chromium: set COMFYLATCH_BROWSER")
	}
}

// until polls ok, and gives up after two minutes: long enough for a slow
// machine, so that only what never comes fails.
func until(ok func() bool) bool {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// answers tells whether something answers GET url with 200.
func answers(url string) bool {
	client := http.Client{Timeout: 5 * time.Second}
	r, err := client.Get(url)
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK
}
