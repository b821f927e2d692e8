package internal_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// attackList is the list of attacks, kept beside the repository.
const attackList = "../../shared/attacks.md"

// notYet are the rows about what does not exist.
var notYet = map[string]string{
	"D5":  "second factors",
	"D7":  "second factors",
	"D8":  "second factors",
	"D9":  "passkeys",
	"D10": "logging in through others (OIDC)",
	"D12": "logging in through others (OIDC)",
}

// TestEveryAttackHasATest looks for each row's id at the beginning of a name:
// t.Run("A4 glued prefix", …).
func TestEveryAttackHasATest(t *testing.T) {
	list, err := os.ReadFile(attackList)
	if err != nil {
		t.Skipf("the list of attacks is not here: %v", err)
	}
	var tests strings.Builder
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "internal/attacks_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		tests.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| ([A-Z][0-9]+) \|`).FindAllStringSubmatch(string(list), -1)
	if len(rows) < 50 {
		t.Fatalf("the list has %d rows, want at least 50", len(rows))
	}
	for _, row := range rows {
		named := strings.Contains(tests.String(), `"`+row[1]+" ")
		if why, later := notYet[row[1]]; later && named {
			t.Errorf("%s has a test, but is said to wait for %s", row[1], why)
		} else if !later && !named {
			t.Errorf("%s has no test with its name", row[1])
		}
	}
}
