package account

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// MinPassword is the least number of characters of a password that somebody
// but the owner at first-time set-up chooses (ASVS 5.0, 6.2.1).
const MinPassword = 8

// The words that people choose, in lower case. Each stands for its variants
// too: see isCommon.
//
//go:embed common.txt
var commonText string

// The 5,000 most frequent passwords of 8 characters and more in what was
// leaked, in lower case (ASVS 5.0, 6.2.4 asks for 3,000). Source: the ranks of
// github.com/dropbox/zxcvbn 4.4.2 (MIT).
//
//go:embed leaked.txt
var leakedText string

var commonWords = sync.OnceValue(func() map[string]bool {
	words := make(map[string]bool)
	for _, text := range []string{commonText, leakedText} {
		for word := range strings.FieldsSeq(text) {
			words[word] = true
		}
	}
	return words
})

// CheckPassword refuses a password that is too short, too long, or among the
// first that anybody would guess. There are no rules of composition. The error
// is an *InputError.
func CheckPassword(password, name string) error {
	if err := CheckNewPassword(password); err != nil {
		return err
	}
	weak := func(sentence string) error { return &InputError{Field: "password", Sentence: sentence} }
	folded := strings.ToLower(password)
	switch {
	case utf8.RuneCountInString(password) < MinPassword:
		return weak(fmt.Sprintf("The password is too short: at least %d characters.", MinPassword))
	case name != "" && strings.Trim(strings.ReplaceAll(folded, FoldName(name), ""), "0123456789!?.#-_ ") == "":
		return weak("The password is the name: choose one that others do not know.")
	case repeats(folded) || follows(folded) || isCommon(folded):
		return weak("That password is among the first that anybody would guess. A few words that do not belong together are better.")
	}
	return nil
}

// Digits and signs that stand for letters; "1" and "!" are read both ways.
var unleet = []*strings.Replacer{
	strings.NewReplacer(),
	strings.NewReplacer("0", "o", "1", "l", "3", "e", "4", "a", "5", "s", "7", "t", "8", "b", "@", "a", "$", "s", "!", "l"),
	strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "8", "b", "@", "a", "$", "s", "!", "i"),
}

const maxAffix = 5 // characters around a word that make it no better: "password2024!"

// isCommon tells whether a folded password is a common word, also with digits
// and signs around it or in place of letters, or written twice.
func isCommon(folded string) bool {
	notLetter := func(r rune) bool { return !unicode.IsLetter(r) }
	words := commonWords()
	known := func(word string) bool {
		half := word[:len(word)/2]
		return words[word] || len(word) > 2 && half+half == word && words[half]
	}
	for _, r := range unleet {
		whole := r.Replace(folded)
		core := strings.TrimFunc(folded, notLetter)
		around := utf8.RuneCountInString(folded) - utf8.RuneCountInString(core)
		if known(whole) || core != "" && around <= maxAffix && known(r.Replace(core)) {
			return true
		}
	}
	return false
}

// repeats tells "aaaaaaaa", "12121212" and "abcabcabc".
func repeats(s string) bool {
	for period := 1; period <= 4 && period*2 <= len(s); period++ {
		if strings.Repeat(s[:period], len(s)/period+1)[:len(s)] == s {
			return true
		}
	}
	return false
}

// follows tells rows of the alphabet, the digits and the keyboard, in either
// direction: "12345678", "87654321", "poiuytre".
func follows(s string) bool {
	for _, row := range []string{"01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "1qaz2wsx3edc4rfv5tgb6yhn7ujm", "1q2w3e4r5t6z7u8i9o0p", "1q2w3e4r5t6y7u8i9o0p"} {
		if strings.Contains(row, s) || strings.Contains(backwards(row), s) {
			return true
		}
	}
	return false
}

func backwards(s string) string {
	b := []byte(s) // ASCII only
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}
