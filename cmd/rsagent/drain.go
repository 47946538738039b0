package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rsagent/agent"
	"rsagent/agent/control"
)

func drainCommand() *cobra.Command {
	var wait bool
	var timeout time.Duration
	var reason string
	c := &cobra.Command{
		Use:   "drain [POOL...]",
		Short: "Take the node, or some of its pools, out of service",
		Long: `Take the node, or some of its pools, out of service: /ready turns, the
directors send no new clients, and those that are here get time to end. It lasts
until undrain, also over a restart of the daemon, and not over a boot.

With --wait, exits with 0 once the directors know, no new connection comes and
none is left that waits for an answer; with 1 if some were left in the end, or new
ones came until then.`,
		Example: `  rsagent drain --wait && systemctl restart nginx && rsagent undrain --wait
  rsagent drain http-pool --reason "new certificate"`,
		RunE: func(c *cobra.Command, pools []string) error {
			if timeout < 0 {
				return fmt.Errorf("cannot use --timeout %v: expected a time such as 5m", timeout)
			}
			r := control.Request{Do: control.Drain, Pools: pools, Reason: reason, Timeout: timeout, Follow: wait}
			return reach(c, r, "drained", "not drained")
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait until it is drained")
	c.Flags().DurationVar(&timeout, "timeout", 0, "at most this `long` for connections to end, instead of drain.timeout")
	c.Flags().StringVar(&reason, "reason", "", "why, for those who look: `text`")
	return c
}

func undrainCommand() *cobra.Command {
	var wait bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "undrain [POOL...]",
		Short: "Put the node, or some of its pools, back into service",
		Long: `Take back what drain did: of the node and all its pools, or of some pools.

With --wait, exits with 0 once it is ready and every director that asks has seen
that twice. Exits with 1 if it still drains for another reason, or is not ready
in time.`,
		Example: `  rsagent undrain --wait`,
		RunE: func(c *cobra.Command, pools []string) error {
			ctx, end := context.WithTimeout(c.Context(), timeout)
			defer end()
			c.SetContext(ctx)
			return reach(c, control.Request{Do: control.Undrain, Pools: pools, Follow: wait}, "in service", "not in service")
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait until it is in service, and the directors know")
	c.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "wait at most this `long`")
	return c
}

// reach asks the daemon for something, and shows how it comes about on a terminal.
func reach(c *cobra.Command, r control.Request, done, not string) error {
	progress := io.Discard
	if isTerminal(c.ErrOrStderr()) {
		progress = c.ErrOrStderr()
	}
	began := time.Now()
	var last control.Reply
	err := ask(c, r, func(reply control.Reply) {
		last = reply
		if r.Follow {
			fmt.Fprintf(progress, "\r\033[K%s", progressOf(r, reply.State))
		}
	})
	if r.Follow {
		fmt.Fprint(progress, "\r\033[K")
	}
	switch what := subject(r.Pools); {
	case errors.Is(err, context.DeadlineExceeded):
		return exit{exitNo, fmt.Sprintf("%s is %s: %s", what, not, control.Brief(last.State))}
	case err != nil:
		return err
	case last.Ended != "":
		return exit{exitNo, fmt.Sprintf("%s is %s: %s", what, not, last.Ended)}
	case !r.Follow:
		_, err = fmt.Fprintln(c.OutOrStdout(), control.Brief(last.State))
	case !last.Done:
		return errors.New("cannot tell what became of it: the daemon has stopped")
	default:
		_, err = fmt.Fprintf(c.OutOrStdout(), "%s is %s after %v\n", what, done, time.Since(began).Round(100*time.Millisecond))
	}
	return err
}

func subject(pools []string) string {
	switch len(pools) {
	case 0:
		return "the node"
	case 1:
		return "pool " + pools[0]
	}
	return "each of pools " + strings.Join(pools, ", ")
}

// progressOf is how far what was asked for is.
func progressOf(r control.Request, s control.State) string {
	if r.Do == control.Undrain {
		return control.Brief(s)
	}
	var words []string
	for _, d := range s.Drains {
		words = append(words, d.Of()+": "+d.Progress(s.Time))
	}
	return strings.Join(words, "; ")
}

// ask asks the daemon of this node, until it has answered or somebody presses ^C.
func ask(c *cobra.Command, r control.Request, each func(control.Reply)) error {
	ctx, end := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer end()
	err := control.Ask(ctx, agent.RuntimeDirectory(), r, each)
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted; what was asked for goes on")
	}
	return err
}

func statusCommand() *cobra.Command {
	var asJSON, watch bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Say what the running daemon thinks of this node",
		Long: `Say what the running daemon thinks of this node: whether it is in service and
at what weight, how far its drains are, and which directors ask. For what is
wrong with the node, and what mends it: rsagent check.`,
		Example: `  rsagent status
  rsagent status --watch`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			out := c.OutOrStdout()
			var failed error
			show := shower(out, asJSON, watch)
			err := ask(c, control.Request{Do: control.Status, Follow: watch}, func(r control.Reply) {
				if failed == nil {
					failed = show(r.State)
				}
			})
			return errors.Join(err, failed)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print all of it as JSON")
	c.Flags().BoolVar(&watch, "watch", false, "go on, with each change")
	return c
}

// shower returns what shows one state after the other.
func shower(out io.Writer, asJSON, watch bool) func(control.State) error {
	switch {
	case asJSON:
		encoder := json.NewEncoder(out)
		return func(s control.State) error { return encoder.Encode(s) }
	case watch && isTerminal(out):
		return func(s control.State) error {
			fmt.Fprint(out, "\033[H\033[2J")
			return control.Text(out, s)
		}
	case watch:
		last := ""
		return func(s control.State) error {
			if text := control.Brief(s); text != last {
				last = text
				_, err := fmt.Fprintf(out, "%s %s\n", s.Time.Format("15:04:05.000"), text)
				return err
			}
			return nil
		}
	}
	return func(s control.State) error { return control.Text(out, s) }
}
