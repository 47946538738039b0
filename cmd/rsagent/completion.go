package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// completionCommand takes the place of cobra's, which has a command and a page
// of text for each shell.
func completionCommand() *cobra.Command {
	shells := []string{"bash", "fish", "zsh"}
	one := strings.Join(shells, ", ")
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print what makes a shell complete rsagent's commands",
		Long: fmt.Sprintf(`Print what makes a shell complete rsagent's commands and flags: one of %s.
The packages install all of them.`, one),
		Example: `  source <(rsagent completion bash)
  rsagent completion zsh > "${fpath[1]}/_rsagent"
  rsagent completion fish > ~/.config/fish/completions/rsagent.fish`,
		ValidArgs: shells,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 1 && slices.Contains(shells, args[0]) {
				return nil
			}
			return fmt.Errorf("cannot use %q: %s takes one of %s\nSee: %s --help",
				strings.Join(args, " "), c.CommandPath(), one, c.CommandPath())
		},
		RunE: func(c *cobra.Command, args []string) error { return complete(c.Root(), args[0], c.OutOrStdout()) },
	}
}

func complete(root *cobra.Command, shell string, w io.Writer) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(w, true)
	case "fish":
		return root.GenFishCompletion(w, true)
	}
	return root.GenZshCompletion(w)
}

// anyFile completes what takes files.
func anyFile(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// flagIsTOML completes a flag that takes a configuration.
func flagIsTOML(c *cobra.Command, flag string) {
	if err := c.MarkFlagFilename(flag, "toml"); err != nil {
		panic(err) // there is no such flag
	}
}
