package account

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// CheckName refuses names that cannot be told apart or shown safely: empty,
// longer than MaxName characters, not UTF-8, or with control, format or
// separator characters other than a single inner space. The error is an
// *InputError.
func CheckName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return badName("The name is not valid text.")
	case strings.TrimSpace(name) == "":
		return badName("Please enter a name.")
	case utf8.RuneCountInString(name) > MaxName:
		return badName(fmt.Sprintf("The name is too long: at most %d characters.", MaxName))
	case strings.TrimSpace(name) != name || strings.Contains(name, "  "):
		return badName("The name may not begin or end with a space, or have two in a row.")
	}
	for _, r := range name {
		if !unicode.IsPrint(r) { // also refuses right-to-left marks and zero-width characters
			return badName("The name has a character that cannot be shown.")
		}
	}
	return nil
}

func badName(sentence string) error { return &InputError{Field: "username", Sentence: sentence} }

// CheckNewName is CheckName for an account that is made beside others: the
// name may not mix scripts, whose letters look alike, nor hold signs that pages
// and programs use. The error is an *InputError.
func CheckNewName(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if norm.NFKC.String(name) != norm.NFC.String(name) {
		return badName("The name has characters that look like others: please write it with plain letters.")
	}
	if strings.ContainsAny(name, `<>"&/\:`) {
		return badName(`The name may not hold any of < > " & / \ and colons.`)
	}
	if !strings.ContainsFunc(name, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
		return badName("The name needs a letter or a digit.")
	}
	if mixed(name) {
		return badName("The name mixes letters of several alphabets: please use one.")
	}
	return nil
}

// scripts of which one name may hold one group. Japanese and Korean are
// written with several, and none of those looks like Latin.
var scripts = []struct {
	table *unicode.RangeTable
	group int
}{
	{unicode.Latin, 1}, {unicode.Greek, 2}, {unicode.Cyrillic, 3}, {unicode.Armenian, 4}, {unicode.Georgian, 5}, {unicode.Cherokee, 6},
	{unicode.Han, 7}, {unicode.Hiragana, 7}, {unicode.Katakana, 7}, {unicode.Hangul, 7}, {unicode.Bopomofo, 7},
	{unicode.Hebrew, 8}, {unicode.Arabic, 9}, {unicode.Devanagari, 10}, {unicode.Thai, 11}, {unicode.Coptic, 12},
}

func mixed(name string) bool {
	found := 0
	for _, r := range name {
		if !unicode.IsLetter(r) {
			continue
		}
		group := 99
		for _, s := range scripts {
			if unicode.Is(s.table, r) {
				group = s.group
			}
		}
		if found != 0 && found != group {
			return true
		}
		found = group
	}
	return false
}

// FoldName gives the form under which attempts are counted and names compared,
// so that "Alice", "ALICE" and " alice" are one.
func FoldName(name string) string {
	return strings.ToLower(norm.NFKC.String(strings.Join(strings.Fields(name), " ")))
}

// Letters and digits that are read as another one. The most common of those in
// Unicode's confusables.txt (UTS 39): enough within one script, since names of
// several are refused.
var lookAlikes = strings.NewReplacer(
	"0", "o", "1", "l", "i", "l", "|", "l", "ı", "l", "rn", "m", "vv", "w",
	"а", "a", "е", "e", "о", "o", "р", "p", "с", "c", "у", "y", "х", "x", "і", "l", "ј", "j", "ѕ", "s", "ԁ", "d", "һ", "h", "ԛ", "q", "ԝ", "w",
	"к", "k", "т", "t", "м", "m", "в", "b", "н", "h", "г", "r", "п", "n", "ӏ", "l", "ё", "ë", "ї", "ï",
	"α", "a", "ο", "o", "ρ", "p", "υ", "u", "ν", "v", "κ", "k", "ι", "l", "τ", "t", "χ", "x", "γ", "y", "η", "n", "ε", "e", "ω", "w", "σ", "o",
	" ", "", "-", "", "_", "", ".", "", "'", "",
)

// Skeleton gives the form that two names share when people would take one for
// the other.
func Skeleton(name string) string { return lookAlikes.Replace(FoldName(name)) }
