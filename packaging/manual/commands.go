package manual

import (
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rsagent/agent/health"
)

// Section is a part of a page that no command has.
type Section struct {
	Title string
	Items []Item
}

// Item is a term, and what is said of it.
type Item struct{ Term, Text string }

// Commands is rsagent(8): every command below the root that is not hidden, the
// sections, and the conditions.
func Commands(root *cobra.Command, sections []Section, conditions []health.Finding, h Header) []byte {
	p := newPage(strings.ToUpper(root.Name()), "8", "System Administration", h)
	commands := below(root)
	p.section("NAME")
	p.line(root.Name() + ` \- ` + escape(lower(root.Short)))
	p.section("SYNOPSIS")
	for i, c := range commands {
		if i > 0 {
			p.macro("br")
		}
		p.filled(synopsis(c))
	}
	p.section("DESCRIPTION")
	p.paragraphs(root.Long)
	p.macro("PP")
	p.example(root.Example)
	p.section("COMMANDS")
	for _, c := range commands {
		p.command(c)
	}
	for _, s := range sections {
		p.section(s.Title)
		for _, i := range s.Items {
			p.item(bold(i.Term), i.Text)
		}
	}
	p.section("CONDITIONS")
	p.paragraphs(`What must hold on a node, as "` + root.Name() + ` check" judges it, in this order. The first that fails is the one to mend. Beside each stands what clients see while it does not hold.`)
	for _, f := range conditions {
		p.item(bold(f.ID)+" ("+string(f.Severity)+")", f.Title+". Else: "+f.Effect)
	}
	p.section("SEE ALSO")
	p.filled(strings.Join([]string{`\fBrsagent.toml\fR(5)`, `\fBip\-tunnel\fR(8)`, `\fBipvsadm\fR(8)`,
		`\fBkeepalived\fR(8)`, `\fBsysctl.d\fR(5)`, `\fBsystemctl\fR(1)`}, ", "))
	return []byte(p.text.String())
}

// below lists the commands that do something, as help shows them.
func below(c *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, sub := range c.Commands() {
		switch {
		case sub.Hidden:
		case sub.HasAvailableSubCommands():
			all = append(all, below(sub)...)
		default:
			all = append(all, sub)
		}
	}
	return all
}

// synopsis is a command with all its flags.
func synopsis(c *cobra.Command) string {
	words := []string{bold(c.CommandPath())}
	visit(c, func(f *pflag.Flag) {
		words = append(words, "["+option(f)+"]")
	})
	if _, args, found := strings.Cut(c.Use, " "); found {
		words = append(words, italic(args))
	}
	return strings.Join(words, " ")
}

func (p *page) command(c *cobra.Command) {
	_, args, _ := strings.Cut(c.Use, " ")
	p.subsection(strings.TrimSpace(c.CommandPath() + " " + args))
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	p.paragraphs(text)
	visit(c, func(f *pflag.Flag) {
		term := option(f)
		if f.Shorthand != "" {
			term = bold("-"+f.Shorthand) + ", " + term
		}
		_, usage := pflag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
			usage += " (default " + f.DefValue + ")"
		}
		p.item(term, usage)
	})
	if c.Example != "" {
		p.macro("PP")
		p.example(c.Example)
	}
}

// visit calls f for every flag that a command has of its own, but for help.
func visit(c *cobra.Command, f func(*pflag.Flag)) {
	c.LocalFlags().VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden && flag.Name != "help" {
			f(flag)
		}
	})
}

func option(f *pflag.Flag) string {
	value, _ := pflag.UnquoteUsage(f)
	if value == "" {
		return bold("--" + f.Name)
	}
	return bold("--"+f.Name) + " " + italic(value)
}

// lower begins a sentence with a small letter, as the line below NAME wants it.
func lower(s string) string {
	r := []rune(s)
	r[0] = unicode.ToLower(r[0])
	return string(r)
}
