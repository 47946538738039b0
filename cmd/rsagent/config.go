package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"rsagent/agent/config"
)

func configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Work with the configuration",
		Args:  knownCommand,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(validateCommand(), showCommand(), exampleCommand(), importCommand(), directorCommand())
	return c
}

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Say what is wrong with a configuration",
		Long: `Say everything that is wrong with a configuration: file, line, column, key,
what was found and what was expected. Quiet if nothing is.

Exits with 0 if it is good, 1 if it is not, 2 if it cannot be read.`,
		Example: `  rsagent config validate
  rsagent config validate new.toml && mv new.toml /etc/rsagent/rsagent.toml`,
		Args:              oneFile,
		ValidArgsFunction: anyFile,
		RunE: func(_ *cobra.Command, args []string) error {
			_, err := config.Load(fileOf(args))
			if problems := config.Problems(nil); errors.As(err, &problems) {
				return exit{exitNo, problems.Error()}
			}
			return err
		},
	}
}

func showCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show [FILE]",
		Short:             "Print the configuration with every default filled in",
		Example:           "  rsagent config show",
		Args:              oneFile,
		ValidArgsFunction: anyFile,
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := config.Load(fileOf(args))
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(cfg.TOML())
			return err
		},
	}
}

func exampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "example",
		Short:   "Print a configuration with every key and what it means",
		Example: fmt.Sprintf("  rsagent config example > %s", config.File),
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(config.Example())
			return err
		},
	}
}

func fileOf(args []string) string {
	if len(args) == 0 {
		return config.File
	}
	return args[0]
}
