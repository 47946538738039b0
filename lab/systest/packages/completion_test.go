//go:build lab

package packages

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// shells complete a line, $1, by what is unpacked below $ROOT, and print what they
// offer.
var shells = map[string][]string{
	"bash": {"bash", "--norc", "-c", `
. /usr/share/bash-completion/bash_completion
. "$ROOT/usr/share/bash-completion/completions/rsagent"
compopt() { :; } # it works in a terminal only
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
read -ra COMP_WORDS <<<"$1"
[[ $1 != *' ' ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
__start_rsagent
printf '%s\n' "${COMPREPLY[@]}"`, "bash"},
	"fish": {"fish", "--no-config", "-c", `
source $ROOT/usr/share/fish/vendor_completions.d/rsagent.fish
complete --do-complete $argv[1]`},
	// zsh completes in a terminal only: this has one, and lists instead of choosing.
	"zsh": {"zsh", "-f", "-c", `
zmodload zsh/zpty
zpty inner zsh -f -i
zpty -w inner "fpath=($ROOT/usr/share/zsh/vendor-completions \$fpath); autoload -Uz compinit; compinit -u -D"
zpty -w inner "PS1=; bindkey '^I' list-choices; echo RE''ADY"
zpty -r inner said '*READY*'
zpty -n -w inner "$1"$'\t'
typeset -F SECONDS=0
all=
while (( SECONDS < 12 )); do
	zpty -r -t inner said && { all+=$said; continue }
	sleep 0.2
done
print -r -- "${all#*$1}"`, "zsh"},
}

func TestEachShellCompletesByWhatThePackageBrings(t *testing.T) {
	root := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "-x", brought(t, deb.older), root).CombinedOutput(); err != nil {
		t.Fatalf("cannot unpack: %v: %s", err, out)
	}
	env := append(os.Environ(), "ROOT="+root, "PATH="+root+"/usr/bin:"+os.Getenv("PATH"), "TERM=dumb")
	for shell, words := range shells {
		t.Run(shell, func(t *testing.T) {
			for _, test := range []struct {
				line     string
				has, not []string
			}{
				{"rsagent config ", []string{"director", "import", "validate"}, []string{"drain"}},
				{"rsagent config director ", []string{"keepalived", "ldirectord", "lvs.cf", "haproxy", "apache"}, []string{"validate"}},
				{"rsagent config director keepalived --check ", []string{"http", "probe", "agent"}, []string{"validate"}},
				{"rsagent drain --", []string{"--wait", "--timeout", "--reason"}, []string{"--json"}},
			} {
				c := exec.Command(words[0], append(words[1:], test.line)...)
				c.Env = env
				out, err := c.CombinedOutput()
				if err != nil {
					t.Errorf("%q: %v: %s", test.line, err, out)
				}
				for _, word := range test.has {
					if !strings.Contains(string(out), word) {
						t.Errorf("%q is not completed by %s: %s", test.line, word, out)
					}
				}
				for _, word := range test.not {
					if strings.Contains(string(out), word) {
						t.Errorf("%q is completed by %s: %s", test.line, word, out)
					}
				}
			}
		})
	}
}
