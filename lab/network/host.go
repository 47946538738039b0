package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Host is one machine of a site: a network namespace with an eth0.
type Host struct {
	Name string
	Addr netip.Addr
	MAC  string
	Dir  string // for the files of this host, gone when the site is

	namespace *os.File
	here      bool          // this machine, which outlives the site
	requests  atomic.Uint32 // how many have been sent

	mu        sync.Mutex
	processes []*Process
}

func newHost(name, address, dir string) (*Host, error) {
	h := &Host{Name: name, Dir: dir}
	if address != "" {
		h.Addr = netip.MustParseAddr(address)
		a := h.Addr.As4()
		h.MAC = fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3])
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return h, h.makeNamespace()
}

func (h *Host) makeNamespace() (err error) {
	if err := output(exec.Command("ip", "netns", "add", h.Name)); err != nil {
		return err
	}
	h.namespace, err = os.Open(filepath.Join("/run/netns", h.Name))
	return err
}

// Do calls f in the host's network namespace. Sockets that f opens stay there.
// What f starts in other goroutines is not in the namespace.
func (h *Host) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cannot enter %s: %v", h.Name, err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, so that nothing else runs on it.
		return errors.Join(err, fmt.Errorf("cannot leave %s: %v", h.Name, back))
	}
	runtime.UnlockOSThread()
	return err
}

// Run runs a program on the host to its end and returns what it wrote. An
// error has that text too.
func (h *Host) Run(name string, args ...string) (string, error) {
	p, err := h.Start(exec.Command(name, args...))
	if err != nil {
		return "", err
	}
	defer h.forget(p)
	if _, err := p.Wait(time.Minute); err != nil {
		return "", errors.Join(err, p.Kill())
	}
	if status := p.Status(); status != 0 {
		return p.Log(), fmt.Errorf("cannot run %s on %s: status %d: %s",
			strings.Join(append([]string{name}, args...), " "), h.Name, status, strings.TrimSpace(p.Log()))
	}
	return p.Log(), nil
}

// IP runs each line as arguments of ip(8) on the host.
func (h *Host) IP(lines ...string) error {
	return ipBatch(h.Name, strings.Join(lines, "\n")+"\n")
}

// Sysctl reads a kernel setting by its path below /proc/sys.
func (h *Host) Sysctl(path string) (value string, err error) {
	err = h.Do(func() error {
		text, err := os.ReadFile("/proc/sys/" + path)
		value = string(bytes.TrimSpace(text))
		return err
	})
	return value, err
}

// SetSysctl writes a kernel setting by its path below /proc/sys.
func (h *Host) SetSysctl(path, value string) error {
	return h.Do(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0) })
}

// Dial opens a TCP connection from the host. A port of 0 lets the kernel
// choose the source port.
func (h *Host) Dial(to string, from uint16, timeout time.Duration) (conn net.Conn, err error) {
	d := net.Dialer{Timeout: timeout, KeepAlive: -1}
	if from != 0 {
		d.LocalAddr = &net.TCPAddr{Port: int(from)}
	}
	err = h.Do(func() error {
		conn, err = d.Dial("tcp4", to) // one address, so dialled on this thread
		return err
	})
	return conn, err
}

// Get asks for a URL from the host and returns status and body. It follows no
// redirect and checks no certificate.
func (h *Host) Get(url string) (status int, body string, err error) {
	const timeout = 3 * time.Second
	client := http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(_ context.Context, _, to string) (net.Conn, error) {
				return h.Dial(to, 0, timeout)
			},
			TLSClientConfig:   anyCertificate(),
			DisableKeepAlives: true,
		},
	}
	r, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return r.StatusCode, string(text), err
}

// State is all that an agent could change on the host, as text to compare:
// links, IPv4 addresses and routes, packet filters, and the settings that match
// one of the patterns of paths below /proc/sys.
func (h *Host) State(settings ...string) (string, error) {
	var b strings.Builder
	for _, command := range []string{
		"ip -o link", "ip -4 -o addr", "ip -4 route show table all", "nft --stateless list ruleset",
	} {
		words := strings.Fields(command)
		out, err := h.Run(words[0], words[1:]...)
		if err != nil {
			return "", err
		}
		b.WriteString(out)
	}
	err := h.Do(func() error {
		for _, pattern := range settings {
			files, err := filepath.Glob("/proc/sys/" + pattern)
			if err != nil {
				return err
			}
			for _, file := range files {
				value, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				fmt.Fprintf(&b, "%s = %s", file, value)
			}
		}
		return nil
	})
	return b.String(), err
}

// WriteFile writes a file into the host's directory and returns its path.
func (h *Host) WriteFile(name, text string) (string, error) {
	path := filepath.Join(h.Dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// Logs are what all processes of the host wrote, for people.
func (h *Host) Logs() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, p := range h.processes {
		fmt.Fprintf(&b, "--- %s: %s\n%s", h.Name, p.Name, p.Log())
	}
	return b.String()
}

// close ends the host. A process that hides in the namespace would keep it
// alive, so all there is in it is killed.
func (h *Host) close() error {
	var errs []error
	h.mu.Lock()
	processes := h.processes
	h.mu.Unlock()
	for _, p := range processes {
		errs = append(errs, p.Kill())
	}
	if h.namespace != nil && !h.here {
		errs = append(errs, h.killRest())
	}
	if h.namespace != nil {
		errs = append(errs, h.namespace.Close())
	}
	return errors.Join(append(errs, output(exec.Command("ip", "netns", "del", h.Name)))...)
}

// killRest kills processes that others left in the namespace.
func (h *Host) killRest() error {
	out, err := exec.Command("ip", "netns", "pids", h.Name).Output()
	if err != nil {
		return fmt.Errorf("cannot list the processes of %s: %v", h.Name, err)
	}
	for pid := range strings.FieldsSeq(string(out)) {
		var number int
		if _, err := fmt.Sscan(pid, &number); err == nil && number != os.Getpid() {
			_ = syscall.Kill(number, syscall.SIGKILL) // it may have just ended
		}
	}
	return nil
}

// Listen takes TCP connections on the host, and lets each end at once.
func (h *Host) Listen(address string) (listener net.Listener, err error) {
	err = h.Do(func() error {
		listener, err = net.Listen("tcp4", address)
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			conn.Close()
		}
	}()
	return listener, nil
}
