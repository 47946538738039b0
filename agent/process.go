package agent

import (
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
)

// process is what every user may know of a process (proc_pid_status(5),
// proc_pid_cmdline(5)). Name and arguments are the process's own words.
type process struct {
	pid, parent int
	inner       int // its number in its own PID namespace, as in a container
	name        string
	arguments   []string
}

// processes returns the numbers of all processes there are.
func processes(proc string) []int {
	entries, _ := os.ReadDir(proc)
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// readProcess looks at a process, but for its arguments. It is false if there
// is no such process, or no longer.
func readProcess(proc string, pid int) (process, bool) {
	p := process{pid: pid, inner: pid}
	status := readSome(proc, pid, "status")
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":\t")
		switch key {
		case "Name":
			p.name = value
		case "PPid":
			p.parent, _ = strconv.Atoi(value)
		case "NSpid": // from the outermost namespace to its own
			if i := strings.LastIndexByte(value, '\t'); i >= 0 {
				p.inner, _ = strconv.Atoi(value[i+1:])
			}
		}
	}
	return p, status != ""
}

// readArguments is the command line. One that the process has overwritten with
// a title, as setproctitle(3) does, is taken apart at its blanks.
func readArguments(proc string, pid int) []string {
	line := strings.TrimRight(readSome(proc, pid, "cmdline"), "\x00 ")
	if line == "" {
		return nil
	}
	if !strings.Contains(line, "\x00") {
		return strings.Fields(line)
	}
	return strings.Split(line, "\x00")
}

// readSome returns the first part of a file of a process, "" if it cannot be
// read. A command line can be megabytes long.
func readSome(proc string, pid int, file string) string {
	f, err := os.Open(filepath.Join(proc, strconv.Itoa(pid), file))
	if err != nil {
		return ""
	}
	defer f.Close()
	buf := make([]byte, 4<<10)
	n, _ := io.ReadFull(f, buf)
	return string(buf[:n])
}

// String names the process, and the script that it runs, as people know it.
// Other arguments may hold secrets.
func (p process) String() string {
	name := p.name
	if script := script(p.arguments); script != "" {
		name = programOf(p.arguments) + " " + script
	}
	return fmt.Sprintf("%s (process %d)", printable(name), p.pid)
}

// unit is the systemd service that the process belongs to, "" if none.
func (p process) unit(proc string) string {
	for line := range strings.Lines(readSome(proc, p.pid, "cgroup")) {
		line = strings.TrimSuffix(line, "\n")
		group, unified := strings.CutPrefix(line, "0::")
		if !unified {
			_, group, _ = strings.Cut(line, ":name=systemd:")
		}
		if name := path.Base(group); strings.HasSuffix(name, ".service") {
			return printable(name)
		}
	}
	return ""
}

// programOf is the name of the program, without a login shell's dash.
func programOf(arguments []string) string {
	if len(arguments) == 0 {
		return ""
	}
	return strings.TrimPrefix(path.Base(arguments[0]), "-")
}

// script is the script, or the module of Python, that an interpreter runs; ""
// if the process is no interpreter, or runs what stands on its command line.
func script(arguments []string) string {
	code := codeOption(programOf(arguments))
	if code == "" {
		return ""
	}
	rest := arguments[1:]
	for i, a := range rest {
		switch {
		case a == "-m" && i+1 < len(rest):
			return rest[i+1]
		case strings.HasPrefix(a, "--"):
		case strings.HasPrefix(a, "-"):
			if strings.Contains(a, code) {
				return ""
			}
		default:
			return a
		}
	}
	return ""
}

// codeOption is the letter of the option by which an interpreter is given code
// itself; "" if the program is none.
func codeOption(program string) string {
	switch strings.TrimRight(program, "0123456789.") {
	case "sh", "bash", "dash", "ash", "ksh", "zsh", "busybox", "python", "platform-python":
		return "c"
	case "perl", "ruby":
		return "e"
	}
	return ""
}

// printable makes what others wrote fit for a line of a log.
func printable(text string) string {
	const longest = 100
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "..."
	}
	return text
}
