package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rsagent/agent/config"
	"rsagent/agent/config/director"
)

func directorCommand() *cobra.Command {
	var q director.Request
	var file string
	var reals []string
	c := &cobra.Command{
		Use:   "director FORMAT",
		Short: "Print what to put on the director for this node's pools",
		Long: `Print what belongs on a director for the pools of this node. FORMAT is keepalived
(services for keepalived.conf), ldirectord (ldirectord.cf), lvs.cf (piranha's),
ipvsadm (rules for ipvsadm -R, which check nothing) or sysctl (the settings of the
kernel that each of these needs); of a node with tunnel.mode none, haproxy (backends
for haproxy.cfg) or apache (balancers for mod_proxy). Changes nothing.

Each pool is asked for at /ready/POOL. How often, and after how many refusals the
director acts, follows from drain.notice and drain.fall. Comments say what a drain
does there and how fast.

With --check probe, keepalived and ldirectord ask through the tunnel, by rsagent
probe on the director; with --check agent, HAProxy asks by its agent-check.`,
		Example: `  rsagent config director keepalived --real 10.0.0.31 --real 10.0.0.32
  rsagent config director ldirectord --check probe > ldirectord.cf
  rsagent config director sysctl > /etc/sysctl.d/60-ipvs.conf`,
		ValidArgs: director.Names(),
		Args: func(c *cobra.Command, args []string) error {
			if q.Format != "" {
				return noArguments(c, args)
			}
			if len(args) != 1 {
				return fmt.Errorf("cannot use %q: expected one format of %s\nSee: %s --help", strings.Join(args, " "), strings.Join(director.Names(), ", "), c.CommandPath())
			}
			q.Format = args[0]
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if q.Reals, err = addressesIn(reals); err != nil {
				return err
			}
			cfg, err := config.Load(file)
			if err != nil {
				return err
			}
			text, warnings, err := director.Write(cfg, q)
			if err != nil {
				return err
			}
			for _, w := range warnings {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}
	c.Flags().StringVar(&file, "config", config.File, "the node's configuration `file`")
	c.Flags().StringVar(&q.Format, "format", "", "the `format`, as a flag")
	c.Flags().StringSliceVar(&reals, "real", nil, "`address` of a real server; may be repeated, or a list with commas; default: this node's own")
	c.Flags().StringVar(&q.Check, "check", "", "`how` nodes are asked: http, probe or agent")
	c.Flags().BoolVar(&q.DeleteFailed, "delete-failed", false, "delete a node whose check fails, instead of weight 0; breaks its connections")
	c.Flags().StringVar(&q.Program, "program", director.Program, "`path` of rsagent on the director, for --check probe")
	flagIsTOML(c, "config")
	flagIsOneOf(c, "format", director.Names())
	flagIsOneOf(c, "check", []string{director.CheckHTTP, director.CheckProbe, director.CheckAgent})
	return c
}

func addressesIn(texts []string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("cannot use --real %q: want the address of a real server", text)
		}
		all = append(all, a)
	}
	return all, nil
}

// flagIsOneOf completes a flag that takes one of a few words.
func flagIsOneOf(c *cobra.Command, flag string, words []string) {
	complete := cobra.FixedCompletions(slices.Clone(words), cobra.ShellCompDirectiveNoFileComp)
	if err := c.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // there is no such flag
	}
}
