package account

import (
	"strings"
	"testing"
)

func TestCommonPasswordsAreRefused(t *testing.T) {
	for _, p := range []string{"password", "Password1", "P@ssw0rd", "p4ssw0rd!", "passwordpassword", "12345678", "87654321", "qwertyuiop", "1q2w3e4r", "1qaz2wsx",
		"aaaaaaaa", "12121212", "abcabcabc", "iloveyou2", "Summer2024!", "letmein123", "comfyui1", "monkey12", "!!dragon!!", "zo\u00eb\u00eb123", "short", "", strings.Repeat("x1", 501)} {
		if CheckPassword(p, "Zoëë") == nil {
			t.Errorf("%q was taken", p)
		}
	}
	for _, p := range []string{"correct horse", "nine of clubs", "12345678a9b", "tr4in-lamp", "пароль-на-завтра", strings.Repeat("ab3!", 2) + "x", strings.Repeat("long and longer ", 62)} {
		if err := CheckPassword(p, "Zoë"); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func TestTheListOfCommonWordsIsLong(t *testing.T) {
	if n := len(commonWords()); n < 6000 {
		t.Errorf("%d words", n)
	}
	leaked := strings.Fields(leakedText)
	if len(leaked) < 3000 {
		t.Errorf("%d leaked passwords", len(leaked))
	}
	for _, p := range leaked {
		if CheckPassword(p, "") == nil || CheckPassword(strings.ToUpper(p), "") == nil {
			t.Errorf("%q was taken", p)
		}
	}
}

func TestNamesThatCannotBeToldApart(t *testing.T) {
	refused := map[string]string{
		"space in front": " ada", "two spaces": "ada  b", "right-to-left mark": "ada\u202e", "zero width": "a\u200bda", "10,000 bytes": strings.Repeat("a", 10_000),
		"HTML": "<b>ada</b>", "half Cyrillic": "аda", "wide letters": "ａｄａ", "nothing": "", "control": "a\x00b", "not text": "a\xff", "only signs": "!!",
		"slash": "a/b", "Greek o": "bοb",
	}
	for what, name := range refused {
		if CheckNewName(name) == nil {
			t.Errorf("%s: %q was taken", what, name)
		}
	}
	for _, name := range []string{"Ada", "Zoë", "Ada Lovelace", "анна", "山田 太郎", "カナ漢字", "김철수", "o'neill", "user-7", "ada@example.com", "محمد"} {
		if err := CheckNewName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, pair := range [][2]string{{"Alice", "ALICE"}, {"Alice", "A1ice"}, {"Bob", "B0b"}, {"сосо", "coco"}, {"Mara", "Marа"}, {"Carn", "Cam"}, {"o'neill", "oneill"}} {
		if Skeleton(pair[0]) != Skeleton(pair[1]) {
			t.Errorf("%q and %q are not taken for look-alikes", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{{"Ada", "Adam"}, {"José", "Jose"}, {"user1", "user2"}} {
		if Skeleton(pair[0]) == Skeleton(pair[1]) {
			t.Errorf("%q and %q are taken for look-alikes", pair[0], pair[1])
		}
	}
}
