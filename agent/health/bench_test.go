package health

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain makes this program the directors where the benchmark starts it as
// them, so that what they take does not count as the endpoint's.
func TestMain(m *testing.M) {
	address, count := os.Getenv("BENCH_ADDRESS"), 0
	if address == "" {
		os.Exit(m.Run())
	}
	count, err := strconv.Atoi(os.Getenv("BENCH_COUNT"))
	if err == nil {
		err = check(address, count)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// check asks that often, each time on a connection of its own as directors do,
// eight at a time.
func check(address string, count int) error {
	const atOnce = 8
	failed := make(chan error, atOnce)
	var over sync.WaitGroup
	for i := range atOnce {
		over.Go(func() {
			answer := make([]byte, 1024)
			for n := i; n < count; n += atOnce {
				c, err := net.Dial("tcp", address)
				if err != nil {
					failed <- err
					return
				}
				io.WriteString(c, "GET /ready/web HTTP/1.0\r\nHost: 10.0.0.1:9380\r\nUser-Agent: KeepAliveClient\r\n\r\n")
				for err == nil {
					_, err = c.Read(answer)
				}
				c.Close()
			}
		})
	}
	over.Wait()
	close(failed)
	return <-failed
}

// How many checks the endpoint answers, and what processor time that takes it,
// on a node with a few and with many conditions.
func BenchmarkChecks(b *testing.B) {
	for _, conditions := range []int{30, 10_000} {
		b.Run(fmt.Sprintf("conditions=%d", conditions), func(b *testing.B) {
			var findings []Finding
			for i := range conditions {
				findings = append(findings, required(fmt.Sprintf("tunnel/vip/%d", i), OK))
			}
			address := start(b, Endpoint{Latest: fresh(append(findings, required("pool/web", OK))...)})
			directors := exec.Command(os.Args[0])
			directors.Env = append(os.Environ(), "BENCH_ADDRESS="+address, "BENCH_COUNT="+strconv.Itoa(b.N))
			before := processorTime(b)
			b.ReportAllocs()
			b.ResetTimer()
			if out, err := directors.CombinedOutput(); err != nil {
				b.Fatalf("the directors end with %v: %s", err, out)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "checks/s")
			b.ReportMetric((processorTime(b)-before)/float64(b.N), "cpu-us/check")
		})
	}
}

// processorTime is what this process has used, in microseconds.
func processorTime(b *testing.B) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e3
}
