package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rsagent/agent"
	"rsagent/agent/config"
	"rsagent/agent/health"
	"rsagent/packaging/manual"
)

// manCommand prints the man pages, for whoever makes a package. They are dated
// by SOURCE_DATE_EPOCH, so that two builds make the same bytes.
func manCommand() *cobra.Command {
	pages := []string{"rsagent.8", "rsagent.toml.5"}
	return &cobra.Command{
		Use:       "man PAGE",
		Short:     "Print a man page: " + strings.Join(pages, " or "),
		Hidden:    true,
		ValidArgs: pages,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(c *cobra.Command, args []string) error {
			h := manual.Header{Date: sourceDate(), Version: programVersion()}
			page := manual.Configuration(config.Help(), h)
			if args[0] == pages[0] {
				conditions, err := everyCondition()
				if err != nil {
					return err
				}
				page = manual.Commands(c.Root(), sections(), conditions, h)
			}
			_, err := c.OutOrStdout().Write(page)
			return err
		},
	}
}

// sourceDate is the day that the sources are of, as far as that is known
// (https://reproducible-builds.org/specs/source-date-epoch/).
func sourceDate() string {
	now := time.Now()
	if n, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		now = time.Unix(n, 0)
	}
	return now.UTC().Format(time.DateOnly)
}

// everyCondition lists the conditions of a node like the example's, with words
// in place of its VIP, its pool and its setting.
func everyCondition() ([]health.Finding, error) {
	c, err := config.Parse("the example", config.Example())
	if err != nil {
		return nil, err
	}
	c.Pools = c.Pools[:1]
	c.Weight.From = config.WeightLoad // any that has a condition
	words := strings.NewReplacer("VIP "+c.VIPs[0].String(), "VIP", c.VIPs[0].String(), "VIP", c.Sysctl[0].Key, "KEY", c.Pools[0].Name, "NAME")
	conditions := agent.Listed(c)
	for i, f := range conditions {
		conditions[i].ID, conditions[i].Title, conditions[i].Effect = words.Replace(f.ID), words.Replace(f.Title), words.Replace(f.Effect)
	}
	if !slices.ContainsFunc(conditions, func(f health.Finding) bool { return f.ID == health.DrainID }) {
		conditions = append(conditions, health.Finding{ID: health.DrainID, Severity: health.Required,
			Title: "The node is in service, which only the daemon can tell", Effect: "The directors send no new clients to this node."})
	}
	return conditions, nil
}

// stateDirectory is what agent.RuntimeDirectory gives without an environment.
const stateDirectory = "/run/rsagent"

// sections are the parts of rsagent(8) that are no command's.
func sections() []manual.Section {
	return []manual.Section{
		{Title: "EXIT STATUS", Items: []manual.Item{
			{Term: fmt.Sprint(exitGood), Text: "Good."},
			{Term: fmt.Sprint(exitNo), Text: "The answer is no: the node is not fit to serve, the configuration is not good, a second signal cut a drain short."},
			{Term: fmt.Sprint(exitCannot), Text: "It could not be done, or not be told."},
			{Term: fmt.Sprint(exitUnset), Text: "Of run: the configuration has no VIP yet. systemd does not start it again by itself."},
		}},
		{Title: "SIGNALS OF THE DAEMON", Items: []manual.Item{
			{Term: "SIGTERM, SIGINT", Text: "Drain, then end; a second one ends at once. Where systemd is about to start the unit again, end without a drain: the next daemon takes over the port."},
			{Term: "SIGHUP", Text: "Read the configuration again and put the difference in force."},
		}},
		{Title: "ENVIRONMENT", Items: []manual.Item{
			{Term: "RUNTIME_DIRECTORY", Text: "Where the daemon keeps what it must remember; " + stateDirectory + " by default."},
			{Term: "NOTIFY_SOCKET, WATCHDOG_USEC", Text: "As systemd sets them: the daemon says when the node is set up, how it is, and that it is alive."},
			{Term: "NO_COLOR", Text: "If it is not empty, no colours on a terminal."},
		}},
		{Title: "FILES", Items: []manual.Item{
			{Term: config.File, Text: "The configuration; see rsagent.toml(5)."},
			{Term: stateDirectory, Text: "What was on the node before the daemon changed it, the daemon's lock, and what it hands to its successor. It is gone after a boot, as are the changes."},
			{Term: "/usr/share/doc/rsagent", Text: "Alert rules, a dashboard, and examples for the directors."},
		}},
	}
}
