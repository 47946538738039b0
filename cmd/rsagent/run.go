package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"rsagent/agent"
	"rsagent/agent/config"
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
A second signal ends at once. What was set up stays as it is.`,
		Example: `  rsagent run
  rsagent run --config /etc/rsagent/rsagent.toml
  rsagent run --vip 203.0.113.10 --director 10.0.0.2 --director 10.0.0.3`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := chooseConfig(c.Flags().Changed("config"), file, vips, directors)
			if err != nil {
				return err
			}
			return runDaemon(c, cfg)
		},
	}
	c.Flags().StringVar(&file, "config", config.File, "configuration `file`")
	c.Flags().StringArrayVar(&vips, "vip", nil, "virtual `address`, instead of a file; may be repeated")
	c.Flags().StringArrayVar(&directors, "director", nil, "`address` or prefix of a director; may be repeated")
	return c
}

func chooseConfig(fileGiven bool, file string, vips, directors []string) (config.Config, error) {
	if len(vips) == 0 && len(directors) == 0 {
		cfg, err := config.Load(file)
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

// runDaemon gets all that can fail before it lets the agent touch the node.
func runDaemon(c *cobra.Command, cfg config.Config) error {
	if err := agent.MayChangeNetwork(); err != nil {
		return err
	}
	lock, err := agent.Lock(agent.RuntimeDirectory())
	if err != nil {
		return err
	}
	defer lock.Close()
	listener, err := net.Listen("tcp", cfg.Health.Listen)
	if err != nil {
		return fmt.Errorf("cannot listen for the directors on %s: %v", cfg.Health.Listen, plain(err))
	}
	defer listener.Close()
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
	a, err := agent.New(cfg, host, log, programVersion())
	if err != nil {
		return err
	}
	log.Info().Str("version", programVersion()).Stringer("listen", listener.Addr()).Msg("starting")
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE) // a lost journal is no reason to leave the node alone
	err = a.Run(c.Context(), listener, signals)
	if errors.Is(err, agent.ErrCutShort) {
		return exit{exitNo, err.Error()}
	}
	return err
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
