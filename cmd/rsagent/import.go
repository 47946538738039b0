package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"rsagent/agent/config"
	"rsagent/agent/config/legacy"
)

func importCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE...",
		Short: "Make a configuration of lvs.cf, sysctl.conf and ifcfg-tunl0",
		Long: `Make a configuration of the files by which a node was set up by hand: piranha's
lvs.cf, sysctl.conf and ifcfg-tunl0, in any order, and what each is is seen by
what stands in it. Writes it to the standard output, and changes nothing.

Each line that does not carry over is named with its file, its number and the
reason, and again in comments at the end of what is written. Where a setting
stands twice, the last one counts, as it did for sysctl.`,
		Example: `  rsagent config import lvs.cf /etc/sysctl.conf ifcfg-tunl0 > rsagent.toml
  rsagent config validate rsagent.toml`,
		ValidArgsFunction: anyFile,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return nil
			}
			return errors.New("cannot import nothing: name lvs.cf, sysctl.conf and ifcfg-tunl0, or some of them\nSee: " + c.CommandPath() + " --help")
		},
		RunE: func(c *cobra.Command, args []string) error {
			var sources []legacy.Source
			for _, file := range args {
				text, err := config.Read(file)
				if err != nil {
					return fmt.Errorf("cannot read %s: %v", file, err)
				}
				sources = append(sources, legacy.Source{Name: file, Text: text})
			}
			toml, left, err := legacy.Import(sources)
			if err != nil {
				return err
			}
			for _, n := range left {
				fmt.Fprintln(c.ErrOrStderr(), n)
			}
			_, err = c.OutOrStdout().Write(toml)
			return err
		},
	}
}
