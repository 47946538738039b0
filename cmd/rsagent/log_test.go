package main

import (
	"bytes"
	"regexp"
	"testing"

	"rsagent/agent/config"
)

func TestLogLines(t *testing.T) {
	const stamp = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)`
	for _, test := range []struct{ name, journal, format, want string }{
		{"JSON has milliseconds", "", "json", `^{"level":"warn","x":"y","time":"` + stamp + `","message":"m"}\n$`},
		{"the journal is told the priority", "8:1", "auto", `^<4>{"level":"warn","x":"y","time":"` + stamp + `","message":"m"}\n$`},
		{"the console has milliseconds", "8:1", "console", `^\d\d:\d\d:\d\d\.\d*[1-9]\d* WRN m x=y\n$|^\d\d:\d\d:\d\d\.000 WRN m x=y\n$`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("JOURNAL_STREAM", test.journal)
			var got bytes.Buffer
			log := newLog(&got, config.Log{Level: "info", Format: test.format})
			log.Debug().Msg("not said")
			log.Warn().Str("x", "y").Msg("m")
			if !regexp.MustCompile(test.want).MatchString(got.String()) {
				t.Errorf("want a line as %s, got %q", test.want, &got)
			}
		})
	}
}
