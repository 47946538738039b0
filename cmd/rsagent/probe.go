package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rsagent/probe/through"
)

// probeFlags are the command's flags as they are written.
type probeFlags struct {
	reals                    []string
	file, vip, source, ready string
	timeout                  time.Duration
	weight                   int
	plain, asJSON            bool
}

func probeCommand() *cobra.Command {
	var f probeFlags
	c := &cobra.Command{
		Use:   "probe --real ADDRESS --vip VIP:PORT",
		Short: "Ask a real server through the tunnel, from a director",
		Long: `Ask a real server for a connection as a director's clients do, through the
tunnel, and reset it: that proves the whole way there and back, which a check of
the node's own address does not. Runs on a director, active or backup, and needs
root or CAP_NET_RAW. It asks for one address and port of one or more nodes.

With --ready the node's /ready is asked too. A URL without a host, such as
http://:9380/ready/http-pool, is asked of each node.

Exits as keepalived's MISC_CHECK with misc_dynamic takes it: 0 good at the
configured weight, 1 failed, 2 draining (up at weight 0), N good at weight N-2.
With --plain: 0 good, 1 failed or draining. For several nodes: 0 if none failed
(with --plain: if all are good), else 1. What could not be asked counts as failed,
as 2 would be taken for a drain.`,
		Example: `  rsagent probe --real 10.0.0.11 --vip 203.0.113.10:80 --ready http://:9380/ready/http-pool
  rsagent probe --reals nodes.txt --vip 203.0.113.10:80   # the whole pool as a table
  rsagent probe --plain --real "$3" --vip "$1:$2"         # ldirectord's external check`,
		Args: func(c *cobra.Command, args []string) error { return failed(noArguments(c, args)) },
		RunE: func(c *cobra.Command, _ []string) error { return failed(runProbe(c, f)) },
	}
	// The code for "could not be done" would be keepalived's for a drain.
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return failed(c.Root().FlagErrorFunc()(c, err)) })
	c.Flags().StringSliceVar(&f.reals, "real", nil, "`address` of a real server; may be repeated, or a list with commas")
	c.Flags().StringVar(&f.file, "reals", "", "`file` with an address on each line, - for standard input")
	c.Flags().StringVar(&f.vip, "vip", "", "`VIP:PORT` of the service")
	c.Flags().StringVar(&f.source, "source", "", "`address` of this host to ask from; default: as the route to the node has it")
	c.Flags().StringVar(&f.ready, "ready", "", "`URL` that says whether the node is ready")
	c.Flags().DurationVar(&f.timeout, "timeout", 2*time.Second, "how long it may take in all")
	c.Flags().IntVar(&f.weight, "weight", 100, "weight that the director is configured with, 1 to 253")
	c.Flags().BoolVar(&f.plain, "plain", false, "exit with 0 or 1 only")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print the results as JSON")
	return c
}

// failed gives an error the code of a real server that failed.
func failed(err error) error {
	if err == nil || errors.As(err, &exit{}) {
		return err
	}
	return exit{exitNo, err.Error()}
}

func runProbe(c *cobra.Command, f probeFlags) error {
	q, err := f.question(c.InOrStdin())
	if err != nil {
		return fmt.Errorf("%v\nSee: %s --help", err, c.CommandPath())
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	results, err := through.Ask(ctx, q)
	if err != nil {
		return err
	}
	write := through.Text
	if f.asJSON {
		write = through.JSON
	}
	if err := write(c.OutOrStdout(), q.VIP, results); err != nil {
		return err
	}
	if code := f.code(results); code != exitGood {
		return exit{code: code}
	}
	return nil
}

// code is what the command exits with.
func (f probeFlags) code(results []through.Result) int {
	if len(results) == 1 && !f.plain {
		return results[0].ExitCode(f.weight)
	}
	for _, r := range results {
		if r.State == through.Failed || f.plain && r.PlainCode() != 0 {
			return exitNo
		}
	}
	return exitGood
}

func (f probeFlags) question(stdin io.Reader) (through.Question, error) {
	q := through.Question{Timeout: f.timeout}
	var err error
	if q.VIP, err = netip.ParseAddrPort(f.vip); err != nil {
		return q, fmt.Errorf("cannot use --vip %q: want VIP:PORT such as 203.0.113.10:80", f.vip)
	}
	if q.Reals, err = f.addresses(stdin); err != nil {
		return q, err
	}
	if f.source != "" {
		if q.Source, err = netip.ParseAddr(f.source); err != nil {
			return q, fmt.Errorf("cannot use --source %q: want an address of this host", f.source)
		}
	}
	if f.ready != "" {
		if q.Ready, err = readyURL(f.ready); err != nil {
			return q, err
		}
		if len(q.Reals) > 1 && q.Ready.Hostname() != "" {
			return q, fmt.Errorf("cannot ask %s for each of %d nodes: leave out the host, as in http://:9380/ready", q.Ready, len(q.Reals))
		}
	}
	if f.weight < 1 || f.weight > 253 {
		return q, fmt.Errorf("cannot use --weight %d: want 1 to 253", f.weight)
	}
	if f.timeout <= 0 {
		return q, fmt.Errorf("cannot use --timeout %v: want a time such as 2s", f.timeout)
	}
	return q, nil
}

func readyURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Opaque != "" {
		return nil, fmt.Errorf("cannot use --ready %q: want a URL such as http://:9380/ready/http-pool", text)
	}
	return u, nil
}

// addresses are those of --real and of the file.
func (f probeFlags) addresses(stdin io.Reader) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, text := range f.reals {
		a, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("cannot use --real %q: want the address of a real server", text)
		}
		all = append(all, a)
	}
	if f.file == "" {
		if len(all) == 0 {
			return nil, errors.New("cannot ask nobody: want --real ADDRESS or --reals FILE")
		}
		return all, nil
	}
	text, err := readList(f.file, stdin)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		word, _, _ := strings.Cut(lines.Text(), "#")
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		a, err := netip.ParseAddr(word)
		if err != nil {
			return nil, fmt.Errorf("cannot use line %d of %s, %q: want the address of a real server", n, f.file, word)
		}
		all = append(all, a)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read %s: %v", f.file, err)
	}
	return all, nil
}

func readList(file string, stdin io.Reader) ([]byte, error) {
	const most = 1 << 20
	if file == "-" {
		return io.ReadAll(io.LimitReader(stdin, most))
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the real servers: %v", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("cannot read the real servers: %v", err)
	}
	return text, nil
}
