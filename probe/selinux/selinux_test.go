package selinux

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDenialsAreReadAsTheKernelAndAuditdWriteThem(t *testing.T) {
	nginx := Denial{At: time.Unix(1750684931, 412e6), Permissions: []string{"name_bind"}, Class: "tcp_socket",
		Program: "nginx", Domain: "httpd_t", Type: "unreserved_port_t", Port: 8443}
	module := Denial{At: time.Unix(1795914505, 16e6), Permissions: []string{"module_request"}, Class: "system",
		Program: "my agent", Domain: "agent_t", Type: "kernel_t", Module: "rtnl-link-ipip"}
	const (
		auditd = `type=AVC msg=audit(1750684931.412:1187): avc:  denied  { name_bind } for  pid=2244 comm="nginx" src=8443 ` +
			`scontext=system_u:system_r:httpd_t:s0 tcontext=system_u:object_r:unreserved_port_t:s0 tclass=tcp_socket permissive=0`
		kernel = `<5>[   99.000001] audit: type=1400 audit(1795914505.016:4): avc:  denied  { module_request } for  pid=9 comm=6D79206167656E74 ` +
			`kmod="rtnl-link-ipip" scontext=u:r:agent_t tcontext=u:r:kernel_t tclass=system permissive=0`
		loadedByKernel = `<5>[  100.0] audit: type=1403 audit(1795914506.000:5): auid=4294967295 ses=4294967295 lsm=selinux res=1`
		loadedByAuditd = `type=MAC_POLICY_LOAD msg=audit(1750684940.000:1190): auid=0 ses=1 lsm=selinux res=1`
	)
	for _, test := range []struct {
		name, text string
		want       []Denial
	}{
		{"auditd's log", "x\n" + auditd + "\n", []Denial{nginx}},
		{"an old kernel, which does not say whether the domain is permissive", strings.TrimSuffix(auditd, " permissive=0"), []Denial{nginx}},
		{"the kernel's log", kernel + "\r\n", []Denial{module}},
		{"both, the later one last", kernel + "\n" + auditd, []Denial{nginx, module}},
		{"a permissive domain", strings.Replace(auditd, "permissive=0", "permissive=1", 1), nil},
		{"what was allowed", strings.Replace(auditd, "denied", "granted", 1), nil},
		{"a policy that was loaded later", kernel + "\n" + loadedByKernel, nil},
		{"a policy that was loaded before", loadedByAuditd + "\n" + kernel, []Denial{module}},
		{"of two, the one that the new policy refused", auditd + "\n" + loadedByAuditd + "\n" + kernel, []Denial{module}},
		{"before the machine started", strings.ReplaceAll(auditd, "1750684931", "1000000000"), nil},
		{"a socket of another kind of address", strings.Replace(auditd, "src=8443", "src=99999", 1),
			[]Denial{func() Denial { d := nginx; d.Port = 0; return d }()}},
		{"half a line", auditd[:80], []Denial{{At: nginx.At, Permissions: nginx.Permissions}}},
		{"other messages", "type=SYSCALL msg=audit(1750684931.412:1187): arch=c000003e syscall=49 success=no\n<6>[ 1.0] eth0: up", nil},
		{"nothing", "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := inForce(test.text, time.Unix(1750000000, 0))
			if len(got) == 0 {
				got = nil
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestOnlyTheEndOfALongLogIsRead(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "var/log/audit/audit.log")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 99) + "\n"
	if err := os.WriteFile(file, []byte("first\n"+strings.Repeat(line, 2*mostLog/len(line))+"last\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := tailOf(file)
	if err != nil || len(text) != mostLog || !strings.HasSuffix(text, "last\n") {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if _, err := tailOf(root); err == nil {
		t.Error("a directory is read as a log")
	}
}

func TestEnforcingIsWhatTheKernelSays(t *testing.T) {
	for text, want := range map[string]bool{"1": true, "1\n": true, "0": false, "": false} {
		root := t.TempDir()
		file := filepath.Join(root, "sys/fs/selinux/enforce")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Enforcing(root); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if Enforcing(t.TempDir()) {
		t.Error("without SELinux it is enforcing")
	}
}

// A log is anybody's words. What comes of it is a list in order, of what was not
// before the time that was asked for.
func FuzzInForce(f *testing.F) {
	f.Add(`type=AVC msg=audit(1750684931.412:1187): avc:  denied  { name_bind } for  pid=2244 comm="nginx" src=8443 scontext=a:b:httpd_t:s0 tcontext=a:b:c:d tclass=tcp_socket permissive=0`)
	f.Add("<5>[ 9.0] audit: type=1400 audit(1795914505.016:4): avc:  denied  { } for  comm=6D79 kmod=\"x scontext=a tcontext= =\n<5> type=1403 audit(1795914506.000:5): ")
	f.Add("type=1403 audit(999999999999.999:5): x\ntype=1400 audit(0.000:1): avc: denied { a b } for  src=-1")
	f.Fuzz(func(t *testing.T, text string) {
		since := time.Unix(1000, 0)
		last := since
		for _, d := range inForce(text, since) {
			if d.At.Before(last) {
				t.Fatalf("%v comes after %v", d, last)
			}
			last = d.At
		}
	})
}
