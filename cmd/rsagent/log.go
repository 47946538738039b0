package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"

	"rsagent/agent/config"
)

// newLog writes lines for a person, or JSON. Repairs are a matter of
// milliseconds, so times have them.
func newLog(w io.Writer, l config.Log) zerolog.Logger {
	level, err := zerolog.ParseLevel(l.Level)
	if err != nil {
		level = zerolog.InfoLevel // the configuration allows no such level
	}
	switch {
	case l.Format == "console" || l.Format == "auto" && isTerminal(w):
		w = zerolog.ConsoleWriter{
			Out: w, NoColor: !colours(w), TimeFormat: "15:04:05.000",
			FieldsOrder: []string{"condition", "what", "old", "new", "status", "want", "got", "cause", "remedy"},
		}
	case os.Getenv("JOURNAL_STREAM") != "":
		w = journalWriter{w}
	}
	stamp := zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, _ string) {
		e.Str(zerolog.TimestampFieldName, time.Now().Format("2006-01-02T15:04:05.000Z07:00"))
	})
	return zerolog.New(w).Level(level).Hook(stamp)
}

// journalWriter tells the journal the priority of each line (sd-daemon(3)).
type journalWriter struct{ io.Writer }

// WriteLevel writes one line behind its priority.
func (j journalWriter) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	if _, err := fmt.Fprintf(j.Writer, "<%d>%s", priority(level), line); err != nil {
		return 0, err
	}
	return len(line), nil
}

// priority is the level as syslog(3) has it.
func priority(level zerolog.Level) int {
	switch level {
	case zerolog.TraceLevel, zerolog.DebugLevel:
		return 7
	case zerolog.WarnLevel:
		return 4
	case zerolog.ErrorLevel, zerolog.FatalLevel, zerolog.PanicLevel:
		return 3
	}
	return 6
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// colours follows https://no-color.org.
func colours(w io.Writer) bool { return isTerminal(w) && os.Getenv("NO_COLOR") == "" }
