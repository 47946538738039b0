package main

import (
	"github.com/spf13/cobra"

	"rsagent/agent"
	"rsagent/agent/config"
)

func undoCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "undo",
		Short: "Give back what the daemon has changed on this node",
		Long: `Give back what the daemon has changed on this node since it was booted: VIPs
that it added, the packet filter's table, settings. What was there before, and
what somebody else changed since, stays. Only while no daemon runs.

It is what on_stop = "remove" does at the end of a drain, for a node that rsagent
is removed from.`,
		Example: `  systemctl stop rsagent && rsagent undo`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := agent.MayChangeNetwork(); err != nil {
				return err
			}
			lock, err := agent.Lock(agent.RuntimeDirectory())
			if err != nil {
				return err
			}
			defer lock.Close()
			host, err := agent.OpenHost()
			if err != nil {
				return err
			}
			defer host.Close()
			if host.Ledger, err = agent.OpenLedger(agent.RuntimeDirectory()); err != nil {
				return err
			}
			defer host.Ledger.Close()
			// Without a configuration, the VIPs that count are those that were added.
			cfg, _ := config.Load(file)
			return agent.Undo(cfg, host, newLog(c.ErrOrStderr(), config.Log{Level: "info", Format: "auto"}))
		},
	}
	c.Flags().StringVar(&file, "config", config.File, "configuration `file`, for the VIPs that were there before")
	flagIsTOML(c, "config")
	return c
}
