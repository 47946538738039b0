// Command rsagent makes and keeps a web node right behind Linux Virtual
// Server in tunnelling mode.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = ""

// What every command exits with.
const (
	exitGood   = 0
	exitNo     = 1 // the answer is no
	exitCannot = 2 // it could not be done

	// exitUnset is EX_CONFIG of sysexits.h: run has no VIP yet, and the unit is
	// not started again.
	exitUnset = 78
)

// exit is the error of a command that ends with a code of its own. Its text, if
// any, is yet to be printed.
type exit struct {
	code int
	text string
}

func (e exit) Error() string { return e.text }

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitGood
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(stderr, text)
	}
	if e := (exit{}); errors.As(err, &e) {
		return e.code
	}
	return exitCannot
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "rsagent",
		Short: "Make and keep a web node right behind LVS in tunnelling mode",
		Long: `rsagent looks after a web node ("real server") behind Linux Virtual Server
in tunnelling mode (LVS-TUN). It sets up the IPIP device with the virtual
addresses, keeps the node from answering ARP for them, tells the directors at
a health endpoint whether the node may have traffic, and drains it before
anything stops.

Exit codes of every command: 0 good, 1 the answer is no, 2 it could not be done.`,
		Example: `  rsagent run --vip 203.0.113.10 --director 10.179.109.69
  rsagent check
  rsagent config validate /etc/rsagent/rsagent.toml`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownCommand,
	}
	// Cobra's own flag needs a template here. The linker keeps every method there
	// is for those, a fifth of the program, which the daemon then has in memory.
	saysVersion := root.Flags().BoolP("version", "v", false, "version for rsagent")
	root.RunE = func(c *cobra.Command, _ []string) error {
		if *saysVersion {
			return sayVersion(c)
		}
		return c.Help()
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("cannot use these flags: %v\nSee: %s --help", err, c.CommandPath())
	})
	root.SetHelpCommand(helpCommand(root))
	root.AddCommand(runCommand(), checkCommand(), statusCommand(), drainCommand(), undrainCommand(),
		probeCommand(), configCommand(), undoCommand(), versionCommand(), completionCommand(), manCommand())
	// Most commands and flags take no file; those that do say so.
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	return root
}

// noArguments is for commands that take flags alone.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("cannot use %q: %s takes no arguments\nSee: %s --help", args[0], c.CommandPath(), c.CommandPath())
}

// oneFile is for commands that take a file, or none.
func oneFile(c *cobra.Command, args []string) error {
	if len(args) <= 1 {
		return nil
	}
	return fmt.Errorf("cannot use %q: %s takes one file\nSee: %s --help", args[1], c.CommandPath(), c.CommandPath())
}

// knownCommand is for commands that only have others below them: what they
// are given is a typo.
func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("cannot find the command %q of %q", args[0], c.CommandPath())
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("%s\nSee: %s --help", text, c.CommandPath())
}

// helpCommand is cobra's, but for a command that is not there.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Say how to use a command",
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return knownCommand(c, rest)
			}
			return c.Help()
		},
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return sayVersion(c) },
	}
}

func sayVersion(c *cobra.Command) error {
	_, err := fmt.Fprintln(c.OutOrStdout(), "rsagent", programVersion())
	return err
}

func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}
