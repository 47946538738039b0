package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"rsagent/lab/network"
)

// Of what a client asks for at once: how much, and how long it waits.
const (
	plainRequests, secureRequests = 4, 2
	patience                      = 1500 * time.Millisecond
)

// browse asks for a page, with and without TLS, as browsers do, and says what
// came of it: "all answered", or "4 of 6 requests: timeout".
func browse(s *site) (string, error) {
	said := make([]string, plainRequests+secureRequests)
	var wait sync.WaitGroup
	for i := range said {
		wait.Go(func() {
			if i < plainRequests {
				said[i] = s.Client.RequestOf(network.VIP, patience).Error
			} else {
				said[i] = secure(s)
			}
		})
	}
	wait.Wait()
	count := make(map[string]int)
	for _, what := range said {
		if what = withoutDial(what); what != "" {
			count[what]++
		}
	}
	if len(count) == 0 {
		return string(fine), nil
	}
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%d of %d requests: %s", count[what], len(said), what))
	}
	return strings.Join(parts, ", "), nil
}

// withoutDial takes the addresses off an error, which are of one request only.
func withoutDial(what string) string {
	if strings.HasPrefix(what, "dial ") {
		return what[strings.LastIndex(what, ": ")+2:]
	}
	return what
}

// secure opens a connection with TLS, and believes no certificate but the
// node's.
func secure(s *site) string {
	file, err := os.ReadFile(s.Web1.Dir + "/nginx/cert.pem")
	if err != nil {
		return err.Error()
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(file)
	conn, err := s.Client.Dial(network.VIP.String()+":443", 0, patience)
	if err != nil {
		return inAWord(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		return err.Error()
	}
	if err := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: network.ServerName}).Handshake(); err != nil {
		return inAWord(err)
	}
	return ""
}

func inAWord(err error) string {
	var wrong *tls.CertificateVerificationError
	var netErr interface{ Timeout() bool }
	switch {
	case errors.As(err, &wrong):
		return "TLS: a wrong certificate"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	case errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF):
		return "cut off"
	}
	return err.Error()
}

// asked is what comes of asking by ARP who has the VIP.
func asked(s *site) (string, error) {
	// Its status is 1 if answers come from two hosts.
	out, err := s.Client.Run("sh", "-c", "arping -c 2 -w 2 -I eth0 10.9.0.100 || true")
	if err != nil {
		return "", err
	}
	if strings.Contains(strings.ToLower(out), s.Web1.MAC) {
		return string(taken), nil
	}
	return browse(s)
}

// rebooted is what comes of asking by ARP who has the VIP once the settings are those
// of the next boot. After that they are as they were.
func rebooted(s *site) (string, error) {
	const all = "/proc/sys/net/ipv4/conf/all/arp_ignore"
	before, err := s.Web1.Run("cat", all)
	if err != nil {
		return "", err
	}
	if err := s.shell("echo 0 > " + all + "; /usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf"); err != nil {
		return "", err
	}
	said, err := asked(s)
	return said, errors.Join(err, s.shell("echo "+strings.TrimSpace(before)+" > "+all))
}

// learnt is where the client sends what is for the VIP after the node, which
// knew nobody, had to ask for its gateway to answer.
func learnt(s *site) (string, error) {
	if err := s.shell("ip neigh flush dev eth0"); err != nil {
		return "", err
	}
	said, err := browse(s)
	if err != nil {
		return "", err
	}
	to, err := s.Client.Run("ip", "neigh", "show", "10.9.0.100")
	if err == nil && strings.Contains(to, s.Web1.MAC) {
		said = string(leaked)
	}
	return said, errors.Join(err, s.forget())
}

// rival is what comes of requests when two hosts answer for the VIP.
func rival(s *site) (string, error) {
	out, err := s.Client.Run("sh", "-c", "arping -c 2 -w 2 -I eth0 10.9.0.100 || true")
	if err != nil || !strings.Contains(strings.ToLower(out), s.Web2.MAC) {
		said, browseErr := browse(s)
		return said, errors.Join(err, browseErr)
	}
	return "some of the clients reach another host: two answer ARP for the VIP", nil
}

// forget has the client ask anew who has the VIP.
func (s *site) forget() error { return s.Client.IP("neigh flush to 10.9.0.100") }

// crowd is what comes of requests by several clients. Each waits so long that
// answers which do not come are sent twice again.
func crowd(s *site) (string, error) {
	out, err := s.Client.Run("python3", "-c", `
import concurrent.futures, socket
def ask(a):
    try:
        socket.create_connection(("10.9.0.100", 80), 4, ("203.0.113.%d" % a, 0)).close()
    except OSError:
        return 1
    return 0
print(sum(concurrent.futures.ThreadPoolExecutor(3).map(ask, [8, 9, 11])))`)
	if err != nil {
		return "", err
	}
	if cut := strings.TrimSpace(out); cut != "0" {
		return cut + " of 3 clients: timeout", nil
	}
	return browse(s)
}

// bother has clients ask until the function that it returns is called.
func (s *site) bother() (quiet func() error) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Client.Knock(ctx, netip.AddrPortFrom(network.VIP, 80), 10*time.Millisecond) }()
	return func() error { stop(); return <-ended }
}

// upload is what comes of sending something large.
func upload(s *site) (string, error) {
	u, err := s.Client.StartUpload(uploadPort, 1<<20)
	if err != nil {
		return browse(s)
	}
	err = u.Wait(s.sink, 2*patience)
	if errors.Is(err, network.ErrStalled) {
		return string(hangs), nil
	}
	if err != nil {
		return "", err
	}
	return browse(s)
}
