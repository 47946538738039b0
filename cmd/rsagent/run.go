package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"rsagent/agent"
	"rsagent/agent/config"
	"rsagent/agent/control"
	"rsagent/agent/handover"
)

func runCommand() *cobra.Command {
	var file string
	var vips, directors []string
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon: set the node up, keep it right, answer the directors.

SIGTERM or SIGINT drains: the endpoint turns, the directors get time to notice
it, the connections to the VIPs get time to end, and the daemon exits with 0.
A second signal ends at once. What was set up stays as it is, unless on_stop is
"remove". SIGHUP reads the file again and puts the difference in force.

While the file has no VIP it exits with 78 and touches nothing.`,
		Example: `  rsagent run
  rsagent run --config /etc/rsagent/rsagent.toml
  rsagent run --vip 203.0.113.10 --director 10.0.0.2 --director 10.0.0.3`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) (fails error) {
			// First of all, so that whatever fails from here on closes the port.
			handed, err := handover.Take()
			if err != nil {
				fmt.Fprintln(c.ErrOrStderr(), err) // what was passed is taken even so; there is no log yet
			}
			defer handed.Close()
			defer func() { tellSystemd(fails) }()
			cfg, err := chooseConfig(c.Flags().Changed("config"), file, vips, directors)
			if err != nil {
				return err
			}
			if len(vips) > 0 || len(directors) > 0 {
				return runDaemon(c, cfg, &handed, nil)
			}
			return runDaemon(c, cfg, &handed, func() (config.Config, zerolog.Logger, error) {
				cfg, err := config.Load(file)
				return cfg, newLog(c.ErrOrStderr(), cfg.Log), err
			})
		},
	}
	c.Flags().StringVar(&file, "config", config.File, "configuration `file`")
	flagIsTOML(c, "config")
	c.Flags().StringArrayVar(&vips, "vip", nil, "virtual `address`, instead of a file; may be repeated")
	c.Flags().StringArrayVar(&directors, "director", nil, "`address` or prefix of a director; may be repeated")
	return c
}

func chooseConfig(fileGiven bool, file string, vips, directors []string) (config.Config, error) {
	if len(vips) == 0 && len(directors) == 0 {
		cfg, err := config.Load(file)
		if setsNoVIP(err) {
			return cfg, exit{exitUnset, fmt.Sprintf("no VIP is set yet, so nothing is done: put vips and directors into %s, as rsagent.toml(5) says; then: systemctl restart rsagent", file)}
		}
		if errors.Is(err, os.ErrNotExist) && !fileGiven {
			return cfg, fmt.Errorf("%v\nWrite one: rsagent config example > %s\nOr try it without: rsagent run --vip ADDRESS --director ADDRESS", err, file)
		}
		return cfg, err
	}
	if fileGiven {
		return config.Config{}, errors.New("cannot use --config together with --vip and --director: give one or the other")
	}
	return config.FromFlags(vips, directors)
}

// tellSystemd puts the reason for the end of the daemon, if it has one, where
// systemctl status shows it.
func tellSystemd(reason error) {
	if reason == nil || reason.Error() == "" {
		return
	}
	first, _, _ := strings.Cut(reason.Error(), "\n")
	_, _ = daemon.SdNotify(false, "STATUS="+first) // the reason is printed, too
}

// runDaemon gets all that can fail before it lets the agent touch the node.
func runDaemon(c *cobra.Command, cfg config.Config, handed *handover.Taken, reload func() (config.Config, zerolog.Logger, error)) error {
	if err := agent.MayChangeNetwork(); err != nil {
		return err
	}
	lock, err := agent.Lock(agent.RuntimeDirectory())
	if err != nil {
		return err
	}
	defer lock.Close()
	listener, again, err := handed.Listen(cfg.Health.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen for the directors on %s: %v", cfg.Health.Listen, plain(err))
	}
	defer listener.Close()
	agents, err := listenForAgents(cfg.Health.AgentListen)
	if err != nil {
		return err
	}
	if agents != nil {
		defer agents.Close()
	}
	host, err := agent.OpenHost()
	if err != nil {
		return err
	}
	defer host.Close()
	log := newLog(c.ErrOrStderr(), cfg.Log)
	if host.Watcher, err = host.Sysctl.NewWatcher(); err != nil {
		log.Warn().Err(err).Msg("changes of settings are seen at the next sweep only")
	} else {
		defer host.Watcher.Close()
	}
	if host.Ledger, err = agent.OpenLedger(agent.RuntimeDirectory()); err != nil {
		log.Warn().Err(err).Msg("what this node was like before will not be known later")
	} else {
		defer host.Ledger.Close()
	}
	a, err := agent.New(cfg, host, log, programVersion())
	if err != nil {
		return err
	}
	a.OnAgentChecks(agents)
	controls, err := control.Listen(agent.RuntimeDirectory())
	if err != nil {
		return err
	}
	defer controls.Close()
	a.OnControl(controls)
	a.OnHangup(reload)
	a.Resume(agent.RuntimeDirectory())
	log.Info().Str("version", programVersion()).Stringer("listen", listener.Addr()).
		Bool("handed_over", again).Msg("starting")
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE) // a lost journal is no reason to leave the node alone
	err = a.Run(c.Context(), listener, signals)
	if errors.Is(err, agent.ErrCutShort) {
		return exit{exitNo, err.Error()}
	}
	return err
}

// listenForAgents returns where HAProxy's agent-checks come in, nil for none. It
// is not handed over like the other: to HAProxy, a port that is closed for a
// moment says nothing.
func listenForAgents(address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for agent-checks on %s: %v", address, plain(err))
	}
	return l, nil
}

// plain takes "listen tcp ADDRESS:" off an error, since the caller says it.
func plain(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return errors.New("another program has that port; see: ss -ltnp")
	}
	return err
}
