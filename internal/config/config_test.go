package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, toml string, environ map[string]string, args ...string) (Config, error) {
	t.Helper()
	state := t.TempDir()
	if toml != "" {
		if err := os.WriteFile(filepath.Join(state, "comfylatch.toml"), []byte(toml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	getenv := func(k string) string { return environ[k] }
	c, err := Read(append([]string{"--state", state}, args...), nil, Env{Getenv: getenv, Workdir: state})
	if err == nil {
		err = c.Resolve("127.0.0.1:8189", getenv)
	}
	return c, err
}

func TestAFlagWinsOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	file := "api_key = 'from-the-file'\nlisten = ['127.0.0.1:1', '127.0.0.1:2']\n"
	env := map[string]string{"COMFYUI_API_KEY": "from-the-environment\n"}
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"file", nil, nil, "from-the-file"},
		{"environment", env, nil, "from-the-environment"},
		{"flag", env, []string{"--api-key", "from-the-flag"}, "from-the-flag"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := read(t, file, c.env, c.args...)
			if err != nil || got.APIKey.Reveal() != c.want || len(got.Listen) != 2 {
				t.Errorf("got key %q, listen %v, error %v, want key %q", got.APIKey.Reveal(), got.Listen, err, c.want)
			}
		})
	}
	got, err := read(t, file, nil, "--listen", ":8189", "--listen", "unix:/run/x")
	if err != nil || strings.Join(got.Listen, " ") != ":8189 unix:/run/x" {
		t.Errorf("flags should replace the file's addresses: %v, %v", got.Listen, err)
	}
}

func TestAKeyFileMayEndInANewline(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	os.WriteFile(path, []byte("a+b/c=12345678\r\n"), 0o644)
	c, err := read(t, "", nil, "--api-key-file", path)
	if err != nil || c.APIKey.Reveal() != "a+b/c=12345678" {
		t.Fatalf("got %q, %v", c.APIKey.Reveal(), err)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "chmod 600") {
		t.Errorf("others can read it, but the warnings are %q", c.Warnings)
	}
	os.Chmod(path, 0o600)
	if c, _ := read(t, "", nil, "--api-key-file", path); len(c.Warnings) != 0 {
		t.Errorf("nobody else can read it, but the warnings are %q", c.Warnings)
	}
}

func TestWhatIsWrongIsSaidWithItsPlace(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "nosuch")
	for _, c := range []struct {
		name, toml string
		args       []string
		want       string
		usage      bool
	}{
		{"unknown key", "guest = true\nlissten = ['x']\n", nil, `comfylatch.toml:2:1: unknown key "lissten"`, false},
		{"broken file", "guest = \n", nil, "comfylatch.toml:1:", false},
		{"wrong type", "guest = 'yes'\n", nil, "comfylatch.toml:1:", false},
		{"bad duration", "session_idle = '7 days'\n", nil, "comfylatch.toml:1:", false},
		{"unknown flag", "", []string{"--lissten", "x"}, "lissten", true},
		{"stray word", "", []string{"main.py"}, `"main.py" is not expected here`, true},
		{"bad switch", "", []string{"--auth", "no"}, `auth "no" is unknown: use on or off`, true},
		{"bad network", "", []string{"--trusted-proxy", "all"}, "trusted-proxy", true},
		{"empty key", "", []string{"--api-key", ""}, "the API key is empty", false},
		{"no key file", "", []string{"--api-key-file", missing}, "no such file", false},
		{"no config file", "", []string{"--config", missing}, "no such file", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(t, c.toml, nil, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want something with %q", err, c.want)
			}
			var u *UsageError
			if errors.As(err, &u) != c.usage {
				t.Errorf("usage error: %v, want %v", !c.usage, c.usage)
			}
		})
	}
}

func TestProblemsReportsEverythingAtOnce(t *testing.T) {
	c, err := read(t, "", nil, "--listen", "0.0.0.0:8189", "--listen", "nonsense", "--auth", "off", "--api-key", "short", "--upstream", "ftp://x", "--log", "xml", "--comfyui", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	all := errors.Join(c.Problems()...).Error()
	for _, want := range []string{`"0.0.0.0:8189" can be reached`, `listen "nonsense"`, "the API key is too short", `upstream "ftp://x"`, `log "xml"`, "no main.py"} {
		if !strings.Contains(all, want) {
			t.Errorf("problems lack %q:\n%s", want, all)
		}
	}
	if c, _ := read(t, "", nil); len(c.Problems()) != 0 {
		t.Errorf("the defaults have problems: %v", c.Problems())
	}
}

func TestTheStateFolderIsComfyUIsLoginFolderWhereThatIsKnown(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{"comfy", "custom_nodes"} {
		os.Mkdir(filepath.Join(dir, p), 0o755)
	}
	os.WriteFile(filepath.Join(dir, "main.py"), nil, 0o644)
	env := func(k string) string { return map[string]string{"HOME": "/home/x", "XDG_STATE_HOME": ""}[k] }
	for _, c := range []struct {
		name          string
		args, command []string
		want          string
	}{
		{"nothing known", nil, nil, "/home/x/.local/state/comfylatch"},
		{"by flag", []string{"--comfyui", dir}, nil, filepath.Join(dir, "login")},
		{"around main.py", nil, []string{"python3", "main.py", "--cpu"}, filepath.Join(dir, "login")},
		{"around another command", nil, []string{"sleep", "1"}, "/home/x/.local/state/comfylatch"},
		{"state given", []string{"--state", "/s", "--comfyui", dir}, nil, "/s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Read(c.args, c.command, Env{Getenv: env, Workdir: dir})
			if err == nil {
				err = got.Resolve("127.0.0.1:8189", env)
			}
			if err != nil || got.State != c.want {
				t.Errorf("got %q, %v, want %q", got.State, err, c.want)
			}
		})
	}
}

func FuzzFile(f *testing.F) {
	f.Add("listen = ['127.0.0.1:8189']\nsession_idle = '36h'\n")
	f.Add("api_key_file = '/dev/null'\n[x]\ny=1")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "api_key_file") {
			return // it would read files
		}
		path := filepath.Join(t.TempDir(), "comfylatch.toml")
		os.WriteFile(path, []byte(text), 0o600)
		c := Default()
		if err := c.readFile(path, true); err == nil {
			c.Problems()
		}
	})
}
