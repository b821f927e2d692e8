package incognito

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// sealScript encrypts the file $IN with the page's own script, with WebCrypto
// and, as on plain HTTP, without.
const sealScript = `
import { readFile, writeFile } from 'node:fs/promises';
const { seal, newKey, sealedSize } = await import(process.env.SEAL);
const blob = new Blob([await readFile(process.env.IN)]);
const key = newKey();
const pieces = [];
if (process.env.PLAIN_HTTP) Object.defineProperty(globalThis.crypto, 'subtle', { value: undefined });
for await (const piece of seal(blob, key)) pieces.push(piece);
const sealed = Buffer.concat(pieces);
if (sealed.length !== sealedSize(blob.size)) throw new Error('sealedSize is wrong');
await writeFile(process.env.OUT, sealed);
console.log(JSON.stringify(Buffer.from(key).toString('base64')));
`

func TestWhatTheBrowserSealsOpens(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node on the PATH")
	}
	script, err := filepath.Abs("../web/app/seal.js")
	if err != nil {
		t.Fatal(err)
	}
	for name, env := range map[string]string{"WebCrypto": "", "plain HTTP": "1"} {
		for _, n := range []int{1, chunkSize, 2*chunkSize + 3} {
			dir, plain := t.TempDir(), randomBytes(n)
			in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
			if err := os.WriteFile(in, plain, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), node, "--input-type=module", "-e", sealScript)
			cmd.Env = append(os.Environ(), "SEAL="+script, "IN="+in, "OUT="+out, "PLAIN_HTTP="+env)
			said, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s, %d bytes: %v\n%s", name, n, err, err.(*exec.ExitError).Stderr)
			}
			var text string
			if err := json.Unmarshal(said, &text); err != nil {
				t.Fatal(err)
			}
			key, _ := base64.StdEncoding.DecodeString(text)
			sealed, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := unseal(sealed, key); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s, %d bytes: %v", name, n, err)
			}
		}
	}
}
