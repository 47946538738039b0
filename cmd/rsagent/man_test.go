package main

import (
	"bytes"
	"context"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rsagent/agent/config"
)

// read gives a man page as mandoc shows it, without its overstrikes, each run of
// white space as one space. It fails the test if mandoc finds fault with it.
func read(t *testing.T, name string) string {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "1262304000")
	var page, errors bytes.Buffer
	if code := execute(context.Background(), []string{"man", name}, &page, &errors); code != exitGood {
		t.Fatalf("rsagent man %s ends with %d: %s", name, code, &errors)
	}
	show := func(args ...string) string {
		c := exec.Command("mandoc", args...)
		c.Stdin = bytes.NewReader(page.Bytes())
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("mandoc %v: %v", args, err)
		}
		return string(out)
	}
	if said := show("-T", "lint", "-W", "style"); said != "" {
		t.Errorf("mandoc finds fault with %s: %s", name, said)
	}
	text := regexp.MustCompile(`.\x08`).ReplaceAllString(show("-T", "ascii", "-O", "width=200"), "")
	if !strings.Contains(text, "2010-01-01") {
		t.Errorf("%s is not of the day of its sources: %s", name, text[max(0, len(text)-200):])
	}
	return strings.Join(strings.Fields(text), " ")
}

func want(t *testing.T, page, text string) {
	t.Helper()
	if !strings.Contains(page, strings.Join(strings.Fields(text), " ")) {
		t.Errorf("the page lacks %q", text)
	}
}

func TestTheManPageHasEveryCommandFlagAndCondition(t *testing.T) {
	page := read(t, "rsagent.8")
	commands := 0
	eachCommand(rootCommand(), func(c *cobra.Command) {
		commands++
		want(t, page, c.CommandPath())
		want(t, page, c.Long)
		want(t, page, c.Example)
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Name != "help" && f.Name != "version" {
				want(t, page, "--"+f.Name)
			}
		})
	})
	if commands < 11 {
		t.Errorf("saw %d commands only", commands)
	}
	conditions, err := everyCondition()
	if err != nil || len(conditions) < 60 {
		t.Errorf("there are %d conditions: %v", len(conditions), err)
	}
	want(t, page, "weight (advisory)")
	for _, f := range conditions {
		want(t, page, f.ID+" ("+string(f.Severity)+") "+f.Title+". Else: "+f.Effect)
	}
	if strings.Contains(page, "listens/http-pool") || strings.Contains(page, "arp/vip/203") {
		t.Error("the page has names of the example in its conditions")
	}
}

func eachCommand(c *cobra.Command, f func(*cobra.Command)) {
	if c.Hidden {
		return
	}
	f(c)
	for _, sub := range c.Commands() {
		eachCommand(sub, f)
	}
}

func TestTheManPageOfTheConfigurationHasEveryKey(t *testing.T) {
	page := read(t, "rsagent.toml.5")
	keys := 0
	for _, table := range config.Help() {
		want(t, page, table.Name)
		for _, k := range table.Keys {
			keys++
			want(t, page, k.Name+" = "+k.Value)
			if k.Text != "" {
				want(t, page, k.Text[1:])
			}
		}
	}
	if keys < 30 {
		t.Errorf("saw %d keys only", keys)
	}
}

func TestTheShellsTakeTheirCompletions(t *testing.T) {
	for shell, word := range map[string]string{"bash": "complete -o default -F __start_rsagent rsagent", "zsh": "#compdef rsagent", "fish": "complete -c rsagent"} {
		var script, errors bytes.Buffer
		if code := execute(context.Background(), []string{"completion", shell}, &script, &errors); code != exitGood {
			t.Errorf("rsagent completion %s ends with %d: %s", shell, code, &errors)
		}
		if !strings.Contains(script.String(), word) {
			t.Errorf("the completion for %s has no %q", shell, word)
		}
		if shell != "bash" {
			continue
		}
		c := exec.Command("bash", "-n")
		c.Stdin = &script
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("bash does not take its completion: %v: %s", err, out)
		}
	}
}
