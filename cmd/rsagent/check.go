package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"rsagent/agent"
	"rsagent/agent/config"
	"rsagent/agent/health"
)

func checkCommand() *cobra.Command {
	var file string
	var asJSON, strict, verbose, list bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Look at this node and say what is wrong",
		Long: `Look at this node once and say what is wrong with it, the root cause first,
with the command that mends it. Changes nothing, and needs no running daemon.
Without a configuration, or while that has no VIP, it judges what it finds on
the node.

Exits with 0 if the node can serve, 1 if it cannot, 2 if that cannot be told.`,
		Example: `  rsagent check
  rsagent check --json | jq '.findings[] | select(.status == "failed")'
  rsagent check --strict   # advisory findings count too
  rsagent check --list     # what is looked at, and why it matters`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if list {
				return listConditions(c, file)
			}
			report, err := look(c, file)
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			if asJSON {
				err = health.JSON(out, report)
			} else {
				err = health.Text(out, report, health.TextOptions{Colour: colours(out), Verbose: verbose})
			}
			if err != nil {
				return err
			}
			return judge(report, strict)
		},
	}
	c.Flags().StringVar(&file, "config", config.File, "configuration `file`")
	flagIsTOML(c, "config")
	c.Flags().BoolVar(&asJSON, "json", false, "print the whole report as JSON")
	c.Flags().BoolVar(&strict, "strict", false, "exit with 1 for advisory findings too")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "list every condition, also those that hold")
	c.Flags().BoolVar(&list, "list", false, "print every condition and why it matters, and look at nothing")
	c.MarkFlagsMutuallyExclusive("list", "json")
	return c
}

// listConditions prints what check looks at with the configuration, or with the
// example while that is not written.
func listConditions(c *cobra.Command, file string) error {
	cfg, err := config.Load(file)
	if describesNoNode(err, c.Flags().Changed("config")) {
		cfg, err = config.Parse("the example", config.Example())
	}
	if err != nil {
		return err
	}
	return health.List(c.OutOrStdout(), agent.Listed(cfg))
}

func look(c *cobra.Command, file string) (health.Report, error) {
	host, err := agent.OpenHost()
	if err != nil {
		return health.Report{}, err
	}
	defer host.Close()
	cfg, err := config.Load(file)
	switch {
	case describesNoNode(err, c.Flags().Changed("config")):
		if setsNoVIP(err) {
			fmt.Fprintf(c.ErrOrStderr(), "%s sets no VIP, so this judges what stands on the node.\n", file)
		}
		return agent.CheckFound(c.Context(), host), nil
	case err != nil:
		return health.Report{}, err
	}
	return agent.Check(c.Context(), cfg, host), nil
}

// describesNoNode tells of the error of a configuration whether that is merely
// not written yet. A file that somebody names has to be there.
func describesNoNode(err error, named bool) bool {
	return errors.Is(err, os.ErrNotExist) && !named || setsNoVIP(err)
}

// setsNoVIP tells of the error of a configuration whether it lacks its VIPs, and
// nothing else.
func setsNoVIP(err error) bool {
	problems := config.Problems(nil)
	return errors.As(err, &problems) && problems.OnlyVIPs()
}

// judge turns the report into an exit code. The report has said the rest.
func judge(r health.Report, strict bool) error {
	switch {
	case r.Status == health.Failed, strict && r.AdvisoryFailed():
		return exit{code: exitNo}
	case r.Status == health.Unknown:
		return exit{code: exitCannot}
	}
	return nil
}
