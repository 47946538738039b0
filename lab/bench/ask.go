package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// asking is how an endpoint is replies.
type asking struct {
	to      netip.AddrPort
	kept    bool          // over connections that are kept, as far as the endpoint lets them
	lasts   time.Duration // from the first question to the last
	aSecond int           // questions at most; 0: as many as can be
	request []byte
}

// replies is what came of it.
type replies struct {
	Answers     int           `json:"answers"`
	Good        int           `json:"good"` // of them
	Connections int           `json:"connections"`
	Took        time.Duration `json:"took_ns"`
	CPU         time.Duration `json:"cpu_ns"`
}

// atOnce is how many connections are open at the same time.
const atOnce = 64

// runAsk is ask for: ADDRESS KEPT DURATION QUESTIONS-A-SECOND.
func runAsk(args []string, w io.Writer) error {
	if len(args) != 4 {
		return fmt.Errorf("cannot ask with the arguments %q", args)
	}
	var a asking
	var errs [4]error
	a.to, errs[0] = netip.ParseAddrPort(args[0])
	a.kept, errs[1] = strconv.ParseBool(args[1])
	a.lasts, errs[2] = time.ParseDuration(args[2])
	a.aSecond, errs[3] = strconv.Atoi(args[3])
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	// As keepalived asks, and as a browser does.
	a.request = fmt.Appendf(nil, "GET /ready HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: %s\r\n\r\n", a.to)
	if a.kept {
		a.request = fmt.Appendf(nil, "GET /ready HTTP/1.1\r\nUser-Agent: bench\r\nHost: %s\r\n\r\n", a.to)
	}
	result, err := ask(a)
	if err != nil {
		return fmt.Errorf("cannot ask %v: %v", a.to, err)
	}
	return json.NewEncoder(w).Encode(result)
}

// asker asks over many connections in one thread, with as few system calls as there
// can be, for the figures are to be those of the endpoint.
type asker struct {
	asking
	poll   int
	result replies
	began  time.Time
	ready  int // connections that may ask
	open   map[int]*question
	into   []byte
}

// question is what is under way on one connection.
type question struct {
	sent   bool
	got    int    // bytes of the answer
	size   int    // of the whole answer; 0: not known yet
	good   bool   // the answer was 200
	closes bool   // the endpoint ends the connection with the answer
	head   []byte // of the first answer
}

func ask(a asking) (replies, error) {
	runtime.LockOSThread()
	k := &asker{asking: a, ready: atOnce, open: make(map[int]*question), into: make([]byte, 4096)}
	var err error
	if k.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return replies{}, err
	}
	defer unix.Close(k.poll)
	k.began = time.Now()
	events := make([]unix.EpollEvent, atOnce)
	for {
		if err := k.begin(); err != nil {
			return replies{}, err
		}
		if len(k.open) == 0 && time.Since(k.began) >= a.lasts {
			break
		}
		n, err := unix.EpollWait(k.poll, events, 1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return replies{}, err
		}
		for _, e := range events[:max(n, 0)] {
			if err := k.proceed(int(e.Fd)); err != nil {
				return replies{}, err
			}
		}
	}
	k.result.Took = time.Since(k.began)
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return replies{}, err
	}
	k.result.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	return k.result, nil
}

// begin opens as many connections as are due.
func (k *asker) begin() error {
	passed := time.Since(k.began)
	if passed >= k.lasts {
		k.ready = 0
		return nil
	}
	for k.ready > 0 {
		if k.aSecond > 0 && k.result.Connections >= int(passed.Seconds()*float64(k.aSecond)) {
			return nil
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(k.to.Port()), Addr: k.to.Addr().As4()})
		if err != nil && !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		const edges = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff
		if err := unix.EpollCtl(k.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: edges, Fd: int32(fd)}); err != nil {
			return err
		}
		k.open[fd] = new(question)
		k.ready--
		k.result.Connections++
	}
	return nil
}

// proceed goes on with a connection of which something was heard.
func (k *asker) proceed(fd int) error {
	q := k.open[fd]
	if !q.sent {
		if _, err := unix.Write(fd, k.request); err != nil {
			return err
		}
		q.sent = true
	}
	for {
		n, err := unix.Read(fd, k.into)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			return err
		case n == 0:
			return k.end(fd, q)
		}
		if q.got += n; q.size == 0 {
			if err := q.measure(k.into[:n]); err != nil {
				return err
			}
		}
		if q.closes || q.size == 0 || q.got < q.size {
			continue
		}
		k.count(q)
		q.got = 0
		if time.Since(k.began) >= k.lasts {
			return k.hangUp(fd)
		}
		if _, err := unix.Write(fd, k.request); err != nil {
			return err
		}
	}
}

// measure finds out how long the answers are, from the beginning of the first.
func (q *question) measure(text []byte) error {
	q.head = append(q.head, text...)
	end := bytes.Index(q.head, []byte("\r\n\r\n"))
	if end < 0 {
		return nil
	}
	a, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(q.head)), nil)
	if err != nil {
		return err
	}
	q.good = a.StatusCode == http.StatusOK
	if a.ContentLength <= 0 {
		return fmt.Errorf("the answer is %s, of %d bytes", a.Status, a.ContentLength)
	}
	q.size, q.closes = end+4+int(a.ContentLength), a.Close
	return nil
}

// end is for a connection that the endpoint has ended.
func (k *asker) end(fd int, q *question) error {
	if q.size == 0 || q.got != q.size {
		return fmt.Errorf("the connection ended after %d bytes of an answer of %d", q.got, q.size)
	}
	k.count(q)
	return k.hangUp(fd)
}

func (k *asker) count(q *question) {
	k.result.Answers++
	if q.good {
		k.result.Good++
	}
}

func (k *asker) hangUp(fd int) error {
	delete(k.open, fd)
	k.ready++
	return unix.Close(fd)
}
