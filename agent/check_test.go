package agent

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rsagent/probe"
)

func TestCheckCallsAServiceDownOnlyWhenTheDaemonWould(t *testing.T) {
	for name, test := range map[string]struct {
		late int32 // how many answers come too late
		down bool
	}{
		"none is late":                        {0, false},
		"late as often as may be":             {2, false},
		"late as often as makes a pool down":  {3, true},
		"late for as long as anybody asks it": {1000, true},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) <= test.late {
					<-r.Context().Done()
				}
			}))
			defer server.Close()
			at := netip.MustParseAddrPort(strings.TrimPrefix(server.URL, "http://"))
			err := tryPool(t.Context(), probe.Target{Kind: probe.HTTP, Addr: at, Timeout: 300 * time.Millisecond, Rise: 2, Fall: 3})
			if (err != nil) != test.down {
				t.Errorf("%v after %d questions", err, asked.Load())
			}
			if asked.Load() > 3 {
				t.Errorf("it was asked %d times", asked.Load())
			}
		})
	}
}
