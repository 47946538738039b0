package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"rsagent/agent/control"
)

// controlled runs an agent that can be asked by its directory, as a daemon that
// was started anew. Its end is waited for.
func controlled(t *testing.T, text, directory string, log io.Writer) (address string, stop func()) {
	t.Helper()
	controls, err := control.Listen(directory)
	if err != nil {
		t.Fatal(err)
	}
	address, stop = running(t, "[tunnel]\nmode = \"none\"\n"+text, directory, log, func(a *Agent) { a.OnControl(controls) })
	return "http://" + address, stop
}

// command asks the daemon, and returns its last reply, or the error.
func command(t *testing.T, directory string, r control.Request) string {
	t.Helper()
	ctx, end := context.WithTimeout(context.Background(), 20*time.Second)
	defer end()
	var last control.Reply
	if err := control.Ask(ctx, directory, r, func(r control.Reply) { last = r }); err != nil {
		return err.Error()
	}
	switch {
	case last.Ended != "":
		return "ended: " + last.Ended
	case last.Done:
		return "done: " + last.State.State
	}
	return last.State.State
}

// webAndMail are two pools whose services are there.
func webAndMail(t *testing.T) (pools string, web net.Listener) {
	t.Helper()
	for _, name := range []string{"mail", "web"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		_, port, _ := net.SplitHostPort(l.Addr().String())
		pools += fmt.Sprintf("[[pool]]\nname = %q\naddress = \"127.0.0.1\"\nport = %s\n", name, port)
		web = l
	}
	return pools, web
}

func TestOnlyTheLastReasonLiftedPutsTheNodeBack(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(t.TempDir(), "later", "drain")
	url, _ := controlled(t, fmt.Sprintf("[repair]\nsweep = \"1s\"\n[drain]\nfile = %q\n", file), directory, io.Discard)
	await(t, url+"/ready", "200 ready\n")
	// The sweep finds its directory.
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond)
	if err := os.WriteFile(file, []byte("new kernel\nand more\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	await(t, url+"/ready", "503 draining\n")
	time.Sleep(200 * time.Millisecond) // for what stands in it
	if got := command(t, directory, control.Request{Do: control.Drain}); got != "draining" {
		t.Errorf("drain gives %q", got)
	}
	if got, want := command(t, directory, control.Request{Do: control.Undrain}), "ended: the node still drains, by the file (new kernel)"; got != want {
		t.Errorf("undrain gives %q, want %q", got, want)
	}
	command(t, directory, control.Request{Do: control.Drain})
	began := time.Now()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if got := get(t, url+"/ready"); got != "503 draining\n" {
		t.Errorf("%v after the file went, /ready is %q", time.Since(began), got)
	}
	if got := command(t, directory, control.Request{Do: control.Undrain}); got != "done: ready" && got != "ready" {
		t.Errorf("undrain gives %q", got)
	}
	await(t, url+"/ready", "200 ready\n")
	// By word of the kernel, not by the sweep.
	for there, want := range map[bool]string{true: "503 draining\n"} {
		began := time.Now()
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		await(t, url+"/ready", want)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("the file is there (%v): that took %v", there, took)
		}
	}
}

func TestAPoolDrainsAlone(t *testing.T) {
	directory := t.TempDir()
	pools, _ := webAndMail(t)
	url, _ := controlled(t, pools, directory, io.Discard)
	await(t, url+"/ready", "200 ready\n")
	if got, want := command(t, directory, control.Request{Do: control.Drain, Pools: []string{"wbe"}}), `cannot find pool "wbe"; there are: mail, web`; got != want {
		t.Errorf("a pool that is not there: %q, want %q", got, want)
	}
	command(t, directory, control.Request{Do: control.Drain, Pools: []string{"web"}})
	for path, want := range map[string]string{
		"/ready/web": "503 draining\n", "/ready/mail": "200 ready\n", "/ready": "503 draining\n",
	} {
		if got := get(t, url+path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	command(t, directory, control.Request{Do: control.Drain})
	await(t, url+"/ready/mail", "503 draining\n")
	command(t, directory, control.Request{Do: control.Undrain, Pools: []string{"web"}})
	await(t, url+"/ready/web", "503 draining\n") // by the node
	command(t, directory, control.Request{Do: control.Undrain})
	await(t, url+"/ready", "200 ready\n")
}

func TestADrainByHandOutlivesTheDaemonAndNotTheBoot(t *testing.T) {
	directory := t.TempDir()
	pools, _ := webAndMail(t)
	url, stop := controlled(t, pools, directory, io.Discard)
	await(t, url+"/ready", "200 ready\n")
	command(t, directory, control.Request{Do: control.Drain, Pools: []string{"web"}, Reason: "disk"})
	stop()

	url, stop = controlled(t, pools, directory, io.Discard)
	if got := get(t, url+"/ready/web"); got != "503 draining\n" {
		t.Errorf("the first answer of the next daemon is %q", got)
	}
	await(t, url+"/ready/mail", "200 ready\n")
	stop()

	text, err := os.ReadFile(drainFile(directory))
	if err != nil {
		t.Fatal(err)
	}
	boot, _ := bootID()
	if err := os.WriteFile(drainFile(directory), []byte(strings.Replace(string(text), boot, "another", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	url, stop = controlled(t, pools, directory, io.Discard)
	await(t, url+"/ready/web", "200 ready\n")
	stop()

	// Somebody may be at work on the service.
	if err := os.WriteFile(drainFile(directory), text[:20], 0o600); err != nil {
		t.Fatal(err)
	}
	var log syncBuffer
	url, _ = controlled(t, pools, directory, &log)
	if got := get(t, url+"/ready"); got != "503 draining\n" || !strings.Contains(log.String(), "cannot be told what was drained by hand") {
		t.Errorf("what cannot be read gives %q and %s", got, log.String())
	}
	command(t, directory, control.Request{Do: control.Undrain})
	await(t, url+"/ready", "200 ready\n")
	if _, err := os.Stat(drainFile(directory)); !os.IsNotExist(err) {
		t.Errorf("what is drained is still remembered: %v", err)
	}
}

// director asks again and again until the test ends, as fast as a test needs.
func director(t *testing.T, url string, every time.Duration) {
	t.Helper()
	stop := make(chan struct{})
	var over sync.WaitGroup
	over.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(every):
				get(t, url)
			}
		}
	})
	t.Cleanup(func() { close(stop); over.Wait() })
}

// underWay is a request of a client to a service that answers after a while, when
// both hang up.
func underWay(t *testing.T, service net.Listener, answer time.Duration) {
	t.Helper()
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}} // not the node itself
	c, err := from.Dial("tcp", service.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
	end := time.AfterFunc(answer, func() { c.Close() })
	t.Cleanup(func() { end.Stop(); c.Close() })
	go func() {
		for {
			c, err := service.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(io.Discard, c)
				c.Close()
			}()
		}
	}()
}

// Two directors, of which one is slow, and perhaps a request that takes its time:
// the drain is over with the slower of all that, and long before its bounds.
func TestADrainIsOverWithTheSlowestDirectorOrTheLongestRequest(t *testing.T) {
	const slow, fall = 300 * time.Millisecond, 3
	const told = (fall-1)*slow + quietTime // at least: the first refusal may come at once
	for _, test := range []struct {
		name    string
		request time.Duration // how long one takes that is under way
		atLeast time.Duration
		atMost  time.Duration
	}{
		{"nothing under way", 0, told, told + slow + time.Second},
		{"a request under way", 2400 * time.Millisecond, 2400 * time.Millisecond, 3400 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			directory := t.TempDir()
			pools, web := webAndMail(t)
			var log syncBuffer
			url, _ := controlled(t, "[drain]\nnotice = \"3s\"\ntimeout = \"20s\"\n"+pools, directory, &log)
			await(t, url+"/ready", "200 ready\n")
			director(t, url+"/ready?slow", slow)
			director(t, url+"/ready?fast", slow/5)
			time.Sleep(3100 * time.Millisecond) // from now on it is sure who asks
			if test.request > 0 {
				underWay(t, web, test.request)
			}
			began := time.Now()
			if got := command(t, directory, control.Request{Do: control.Drain, Follow: true}); got != "done: drained" {
				t.Errorf("drain --wait gives %q", got)
			}
			if took := time.Since(began); took < test.atLeast || took > test.atMost {
				t.Errorf("it took %v, want %v to %v\n%s", took, test.atLeast, test.atMost, log.String())
			}
			if got := askDrainLog(log.String()); got != `"connections_left":0` {
				t.Errorf("the log says %s:\n%s", got, log.String())
			}
			began = time.Now()
			if got := command(t, directory, control.Request{Do: control.Undrain, Follow: true}); got != "done: ready" {
				t.Errorf("undrain --wait gives %q", got)
			}
			if took := time.Since(began); took < slow {
				t.Errorf("undrain --wait took %v, and the slow director must ask twice, every %v", took, slow)
			}
		})
	}
}

// askDrainLog is what the log says is left at the end of a drain.
func askDrainLog(log string) string {
	_, after, _ := strings.Cut(log, `"connections_left"`)
	count, _, _ := strings.Cut(after, ",")
	return `"connections_left"` + count
}

// A request that takes longer than it may is named, and the answer is no.
func TestADrainThatTimesOutSaysSo(t *testing.T) {
	directory := t.TempDir()
	pools, web := webAndMail(t)
	url, _ := controlled(t, "[drain]\nnotice = \"500ms\"\n"+pools, directory, io.Discard)
	await(t, url+"/ready", "200 ready\n")
	underWay(t, web, time.Minute)
	r := control.Request{Do: control.Drain, Pools: []string{"web"}, Timeout: time.Second, Follow: true}
	if got, want := command(t, directory, r), "ended: 1 connection left at the end of the time for them, on pool web"; got != want {
		t.Errorf("drain --wait gives %q, want %q", got, want)
	}
	if got := command(t, directory, control.Request{Do: control.Status}); got != "drained" {
		t.Errorf("the node is %q", got)
	}
}
