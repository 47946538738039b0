package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// quote writes a TOML basic string. What cannot be seen is escaped.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case !unicode.IsPrint(r) && r <= 0xFFFF:
			fmt.Fprintf(&b, `\u%04X`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// quoteKey writes a key, in quotes only if TOML wants them.
func quoteKey(s string) string {
	bare := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
	}
	if s != "" && len(s) <= longest && strings.TrimFunc(s, bare) == "" {
		return s
	}
	return short(s)
}

// longest is how many bytes of a text a message shows.
const longest = 100

// cut shortens a text for a message, between two characters.
func cut(s string) string {
	if len(s) <= longest {
		return s
	}
	end := longest
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}

// short is a text for a message, in quotes.
func short(s string) string { return quote(cut(s)) }

// Quote writes a text as a value or a key of the file.
func Quote(s string) string { return quote(s) }
