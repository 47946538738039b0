package health

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

func brokenNode() Report {
	rp := required("sysctl/rp_filter/tunl0", Failed)
	rp.Title = "Reverse path filtering lets unwrapped packets in"
	rp.Want, rp.Got = "an effective rp_filter of 0 or 2 on tunl0", "net.ipv4.conf.tunl0.rp_filter = 1"
	rp.Cause = "the kernel drops every unwrapped packet whose answer leaves by another interface"
	rp.Remedy = "sysctl -w net.ipv4.conf.tunl0.rp_filter=2"
	rp.Owned = true
	foreign := advisory("tunnel/foreign", Failed)
	foreign.Want, foreign.Got = "no other address on tunl0", "192.0.2.7/32"
	foreign.Remedy = "first line\nsecond line"
	blind := required("tunnel/up", Unknown)
	blind.Got = "cannot list the links: permission denied"
	return NewReport(at, []Finding{required("tunnel/device", OK), foreign, rp, blind, required("pool/http", Skipped)})
}

// manyVIPs serves the first VIP, one of two pools of the second, and none of
// five others.
func manyVIPs() Report {
	finding := func(id, vip string, s Status, got string) Finding {
		f := required(id, s)
		f.VIP, f.Got = vip, got
		return f
	}
	list := []Finding{
		required("tunnel/device", OK),
		finding("tunnel/vip/192.0.2.1", "192.0.2.1", OK, ""),
		finding("tunnel/vip/192.0.2.2", "192.0.2.2", OK, ""),
	}
	for _, vip := range []string{"192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7"} {
		list = append(list, finding("arp/vip/"+vip, vip, Skipped, ""))
	}
	list = append(list,
		finding("pool/web", "192.0.2.2", OK, ""),
		finding("pool/tls", "192.0.2.2", Failed, "nothing listens on 192.0.2.2:443"))
	for i := 3; i < 8; i++ {
		list[i].Status, list[i].Got = Failed, list[i].VIP+" is on eth0"
	}
	// Those two fail for one reason.
	list[6].Status, list[7].Status = OK, OK
	list[6].VIP, list[7].VIP = "192.0.2.8", "192.0.2.9"
	return NewReport(at, list)
}

func TestRenderings(t *testing.T) {
	good := NewReport(at, []Finding{required("tunnel/device", OK), advisory("tunnel/foreign", OK)})
	good.Findings[1].Effect = "Nothing, if the address is meant to be there."
	unsure := NewReport(at, []Finding{required("tunnel/device", Unknown)})
	text := func(r Report, o TextOptions) func(*bytes.Buffer) error {
		return func(b *bytes.Buffer) error { return Text(b, r, o) }
	}
	for _, test := range []struct {
		name   string
		golden string
		render func(*bytes.Buffer) error
	}{
		{"a good node is one line", "good.txt", text(good, TextOptions{})},
		{"a good node in full", "good-verbose.txt", text(good, TextOptions{Verbose: true})},
		{"a broken node has the required findings first", "broken.txt", text(brokenNode(), TextOptions{})},
		{"a broken node on a terminal", "broken-colour.txt", text(brokenNode(), TextOptions{Colour: true, Verbose: true})},
		{"a node that serves some VIPs, and some pools of others", "vips.txt", text(manyVIPs(), TextOptions{})},
		{"what is looked at", "list.txt", func(b *bytes.Buffer) error { return List(b, good.Findings) }},
		{"a node that cannot be looked at", "unknown.txt", text(unsure, TextOptions{})},
		{"a broken node for machines", "broken.json", func(b *bytes.Buffer) error { return JSON(b, brokenNode()) }},
		{"no finding for machines", "empty.json", func(b *bytes.Buffer) error { return JSON(b, NewReport(at, nil)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got bytes.Buffer
			if err := test.render(&got); err != nil {
				t.Fatal(err)
			}
			checkGolden(t, test.golden, got.String())
		})
	}
}

func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestHangingTextFitsAndLosesNoWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.StringMatching(`[a-z]{1,90}`)).Draw(t, "words")
		indent := strings.Repeat(" ", rapid.IntRange(0, 20).Draw(t, "indent"))
		got := hang(strings.Join(words, " "), indent)
		if diff := cmp.Diff(strings.Fields(strings.Join(words, " ")), strings.Fields(got)); diff != "" {
			t.Fatalf("words (-want +got):\n%s", diff)
		}
		for i, line := range strings.Split(got, "\n") {
			if i == 0 {
				line = indent + line
			}
			if len(line) > columns && len(strings.Fields(line)) > 1 {
				t.Fatalf("a line of %d columns: %q", len(line), line)
			}
			if !strings.HasPrefix(line, indent) {
				t.Fatalf("a line that is not indented: %q", line)
			}
		}
	})
}
