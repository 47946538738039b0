package handover

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestMain makes this program a daemon where the tests start it as one.
func TestMain(m *testing.M) {
	if address := os.Getenv("HANDOVER_LISTEN"); address != "" {
		if err := daemon(address); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// daemon answers each connection with its number, says what it did on its
// output, and hands over when its input ends.
func daemon(address string) error {
	handed, err := Take()
	if err != nil {
		return err
	}
	defer handed.Close()
	listener, taken, err := handed.Listen(address)
	if err != nil {
		return err
	}
	seen, err := childSees()
	if err != nil {
		return err
	}
	fmt.Printf("taken %v, at %v, %s\n", taken, listener.Addr(), seen)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, os.Getpid())
			conn.Close()
		}
	})
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	listener.Close()
	serving.Wait()
	return Give(socket)
}

// childSees counts what a program that is run gets of sd_listen_fds(3), and the
// files that it has open.
func childSees() (string, error) {
	out, err := exec.Command("/bin/sh", "-c", "env | grep ^LISTEN_ | wc -l; ls /proc/self/fd | wc -l").Output()
	counts := strings.Fields(string(out))
	if err != nil || len(counts) != 2 {
		return "", fmt.Errorf("cannot count what a child sees: %q, %v", out, err)
	}
	return fmt.Sprintf("a child sees %s variables and %s files", counts[0], counts[1]), nil
}

// alone is what a child sees to which nothing is passed on.
func alone(t *testing.T) string {
	t.Helper()
	seen, err := childSees()
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// systemd stands in systemd's place: it keeps what it is given until it is told
// to forget it, and passes it on to each daemon that it starts.
type systemd struct {
	t      *testing.T
	path   string
	socket *net.UnixConn
	over   sync.WaitGroup
	busy   sync.Mutex // held: it reads no message

	mu    sync.Mutex
	names []string
	files []*os.File
	said  []string
}

func startSystemd(t *testing.T) *systemd {
	t.Helper()
	s := &systemd{t: t, path: filepath.Join(t.TempDir(), "notify")}
	var err error
	if s.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	s.over.Go(s.listen)
	t.Cleanup(func() {
		s.socket.Close()
		s.over.Wait()
		for _, f := range s.files {
			f.Close()
		}
	})
	return s
}

func (s *systemd) listen() {
	text, control := make([]byte, 4096), make([]byte, 4096)
	for {
		n, controls, _, _, err := s.socket.ReadMsgUnix(text, control)
		if err != nil {
			return // closed
		}
		s.hear(string(text[:n]), rights(control[:controls]))
	}
}

func rights(control []byte) []*os.File {
	var files []*os.File
	messages, _ := unix.ParseSocketControlMessage(control)
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m)
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "stored"))
		}
	}
	return files
}

func (s *systemd) hear(message string, files []*os.File) {
	s.busy.Lock()
	defer s.busy.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, message)
	what, name, _ := strings.Cut(message, "\nFDNAME=")
	switch what {
	case "FDSTORE=1":
		for _, f := range files {
			s.names, s.files = append(s.names, name), append(s.files, f)
		}
	case "FDSTOREREMOVE=1":
		for i := len(s.names) - 1; i >= 0; i-- {
			if s.names[i] == name {
				s.files[i].Close()
				s.names, s.files = append(s.names[:i], s.names[i+1:]...), append(s.files[:i], s.files[i+1:]...)
			}
		}
	}
}

// kept waits until as many files are kept, and returns their names.
func (s *systemd) kept(want int) []string {
	s.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		names := append([]string(nil), s.names...)
		said := s.said
		s.mu.Unlock()
		if len(names) == want {
			return names
		}
		if time.Since(began) > 10*time.Second {
			s.t.Fatalf("%d files are kept, want %d; heard %q", len(names), want, said)
		}
	}
}

// keep puts a file into the store.
func (s *systemd) keep(name string, f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names, s.files = append(s.names, name), append(s.files, f)
}

// child is a daemon that was started.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	said  string // its first line
}

// start starts a daemon as systemd does, and waits until it answers.
func (s *systemd) start(address string, env ...string) *child {
	s.t.Helper()
	// The shell's number is that of the daemon, whose place it takes.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=${LISTEN_PID:-$$} exec "$0"`, os.Args[0])
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	stdout, failed := cmd.StdoutPipe()
	if err = errors.Join(err, failed); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock() // so that nothing is closed before the daemon has it
	cmd.ExtraFiles = append(cmd.ExtraFiles, s.files...)
	cmd.Env = append(os.Environ(), "HANDOVER_LISTEN="+address, "NOTIFY_SOCKET="+s.path,
		"LISTEN_FDS="+strconv.Itoa(len(s.files)), "LISTEN_FDNAMES="+strings.Join(s.names, ":"))
	cmd.Env = append(cmd.Env, env...)
	err = cmd.Start()
	s.mu.Unlock()
	if err != nil {
		s.t.Fatal(err)
	}
	c := &child{t: s.t, cmd: cmd, stdin: stdin}
	s.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		s.t.Fatalf("the daemon says nothing: %v", err)
	}
	c.said = strings.TrimSpace(line)
	return c
}

func (c *child) pid() string { return strconv.Itoa(c.cmd.Process.Pid) }

// handOver has the daemon end as for a restart.
func (c *child) handOver() {
	c.t.Helper()
	c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatalf("the daemon ended with %v", err)
	}
}

func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// listen is a socket that listens, as a file, and where.
func listen(t *testing.T, address string) (*os.File, string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	return f, l.Addr().String()
}

// freePort is a port of loopback that nobody has.
func freePort(t *testing.T) string {
	t.Helper()
	f, address := listen(t, "127.0.0.1:0")
	f.Close()
	_, port, _ := net.SplitHostPort(address)
	return port
}

func answer(t *testing.T, conn net.Conn) string {
	t.Helper()
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func wantRefused(t *testing.T, address string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a connection to %s gives %v, want it refused", address, err)
	}
}

func TestWhoAsksBetweenTwoDaemonsIsAnsweredByTheSecond(t *testing.T) {
	s := startSystemd(t)
	address := "127.0.0.1:" + freePort(t)
	first := s.start(address)
	if want := fmt.Sprintf("taken false, at %s, %s", address, alone(t)); first.said != want {
		t.Errorf("the first daemon says %q, want %q", first.said, want)
	}
	for range 3 {
		if got := answer(t, dial(t, address)); got != first.pid() {
			t.Errorf("%q answers, want the running daemon, %s", got, first.pid())
		}
		first.handOver()
		if diff := cmp.Diff([]string{"health"}, s.kept(1)); diff != "" {
			t.Errorf("what is kept (-want +got):\n%s", diff)
		}
		waiting := []net.Conn{dial(t, address), dial(t, address)}

		second := s.start(address)
		if want := fmt.Sprintf("taken true, at %s, %s", address, alone(t)); second.said != want {
			t.Errorf("the next daemon says %q, want %q", second.said, want)
		}
		for _, conn := range waiting {
			if got := answer(t, conn); got != second.pid() {
				t.Errorf("%q answers who has waited, want the next daemon, %s", got, second.pid())
			}
		}
		s.kept(0)
		first = second
	}
	first.kill()
	wantRefused(t, address)
}

func TestWhatCannotBeUsedIsClosed(t *testing.T) {
	port := freePort(t)
	here := "127.0.0.1:" + port
	tests := map[string]struct {
		listen string // in the configuration
		keep   func(t *testing.T, s *systemd) (refused string)
		taken  bool
	}{
		"another port": {here, func(t *testing.T, s *systemd) string {
			f, address := listen(t, "127.0.0.1:0")
			s.keep("health", f)
			return address
		}, false},
		"another address and the same port": {here, func(t *testing.T, s *systemd) string {
			f, address := listen(t, "127.0.0.2:"+port)
			s.keep("health", f)
			return address
		}, false},
		"all addresses, which would take the port from one": {here, func(t *testing.T, s *systemd) string {
			f, _ := listen(t, ":"+port)
			s.keep("health", f)
			return "127.0.0.2:" + port
		}, false},
		"one address, which would take the port from all": {":" + port, func(t *testing.T, s *systemd) string {
			f, _ := listen(t, here)
			s.keep("health", f)
			return ""
		}, false},
		"all addresses in other words": {"0.0.0.0:" + port, func(t *testing.T, s *systemd) string {
			f, _ := listen(t, ":"+port)
			s.keep("health", f)
			return ""
		}, true},
		"the same twice": {here, func(t *testing.T, s *systemd) string {
			f, _ := listen(t, here)
			fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			s.keep("health", f)
			s.keep("health", os.NewFile(uintptr(fd), "again"))
			return ""
		}, true},
		"another one, and then the right one": {here, func(t *testing.T, s *systemd) string {
			other, address := listen(t, "127.0.0.1:0")
			f, _ := listen(t, here)
			s.keep("health", other)
			s.keep("health", f)
			return address
		}, true},
		"a socket that listens no more": {here, func(t *testing.T, s *systemd) string {
			f, _ := listen(t, here)
			if err := unix.Shutdown(int(f.Fd()), unix.SHUT_RDWR); err != nil {
				t.Fatal(err)
			}
			s.keep("health", f)
			return ""
		}, false},
		"a datagram socket": {here, func(t *testing.T, s *systemd) string {
			conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			f, err := conn.File()
			if err != nil {
				t.Fatal(err)
			}
			s.keep("health", f)
			return ""
		}, false},
		"no socket at all": {here, func(t *testing.T, s *systemd) string {
			f, err := os.Open("/dev/null")
			if err != nil {
				t.Fatal(err)
			}
			s.keep("health", f)
			return ""
		}, false},
		"a socket in another network": {here, func(t *testing.T, s *systemd) string {
			s.keep("health", listenElsewhere(t, here))
			return ""
		}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := startSystemd(t)
			refused := test.keep(t, s)
			s.busy.Lock()
			c := s.start(test.listen)
			s.busy.Unlock()
			if want := fmt.Sprintf("taken %v,", test.taken); !strings.HasPrefix(c.said, want) || !strings.HasSuffix(c.said, alone(t)) {
				t.Errorf("the daemon says %q, want %q and that %s", c.said, want, alone(t))
			}
			if got := answer(t, dial(t, here)); got != c.pid() {
				t.Errorf("%q answers, want the daemon, %s", got, c.pid())
			}
			if refused != "" {
				wantRefused(t, refused)
			}
			s.kept(0)
			c.kill()
			wantRefused(t, here)
		})
	}
}

// listenElsewhere is a socket that listens in a network namespace of its own.
func listenElsewhere(t *testing.T, address string) (socket *os.File) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and ends with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			to := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address))
			err = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
			err = errors.Join(err, unix.Bind(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}), unix.Listen(fd, 1))
			socket = os.NewFile(uintptr(fd), "elsewhere")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return socket
}

func TestWhatIsNotForRsagentIsLeftInTheStore(t *testing.T) {
	s := startSystemd(t)
	port := freePort(t)
	f, _ := listen(t, "127.0.0.1:0")
	s.keep("other", f)
	c := s.start("127.0.0.1:" + port)
	if want := fmt.Sprintf("taken false, at 127.0.0.1:%s, %s", port, alone(t)); c.said != want {
		t.Errorf("the daemon says %q, want %q", c.said, want)
	}
	c.handOver()
	if diff := cmp.Diff([]string{"other", "health"}, s.kept(2)); diff != "" {
		t.Errorf("what is kept (-want +got):\n%s", diff)
	}
}

func TestNothingIsTakenThatWasMeantForAnotherProcess(t *testing.T) {
	s := startSystemd(t)
	f, address := listen(t, "127.0.0.1:0")
	s.keep("health", f)
	c := s.start("127.0.0.1:"+freePort(t), "LISTEN_PID=1")
	if !strings.HasPrefix(c.said, "taken false,") || !strings.Contains(c.said, "a child sees 0 ") {
		t.Errorf("the daemon says %q", c.said)
	}
	dial(t, address).Close() // it listens still
	s.kept(1)
}

func TestASocketIsNotGivenWhereThereIsNoSystemd(t *testing.T) {
	f, _ := listen(t, "127.0.0.1:0")
	defer f.Close()
	gone := filepath.Join(t.TempDir(), "gone")
	for socket, want := range map[string]string{
		"":   "cannot give systemd the socket: there is no NOTIFY_SOCKET",
		gone: "cannot give systemd the socket: " + gone + ": no such file or directory",
	} {
		t.Setenv("NOTIFY_SOCKET", socket)
		if err := Give(f); err == nil || err.Error() != want {
			t.Errorf("with NOTIFY_SOCKET=%q: got %v, want %q", socket, err, want)
		}
	}
}
