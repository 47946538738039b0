package health

import (
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reportCollector renders the latest report. The number of its series must not
// grow with that of the VIPs: of the findings, only those that need attention
// have one each, and all are counted.
type reportCollector struct {
	reportDescs
	latest  func() *Standing
	repairs *prometheus.CounterVec
}

type reportDescs struct{ ready, draining, weight, looked, findings, condition, pool *prometheus.Desc }

func newReportDescs() reportDescs {
	return reportDescs{
		ready: prometheus.NewDesc("rsagent_ready",
			"1 if the node may have traffic for all its pools.", nil, nil),
		draining: prometheus.NewDesc("rsagent_draining",
			"1 while the node is on its way out of service.", nil, nil),
		weight: prometheus.NewDesc("rsagent_weight",
			"How much of its full part of the clients the node wants, in percent; 0 while it is not ready.", nil, nil),
		looked: prometheus.NewDesc("rsagent_last_look_timestamp_seconds",
			"When the node was last looked at.", nil, nil),
		findings: prometheus.NewDesc("rsagent_findings",
			"Conditions by what was found of them.", []string{"severity", "status"}, nil),
		condition: prometheus.NewDesc("rsagent_condition",
			"1 for each condition that failed or is unknown; one that is ok, or skipped since something it needs failed, has no series.",
			[]string{"condition", "severity", "status"}, nil),
		pool: prometheus.NewDesc("rsagent_pool_up",
			"1 if the service of the pool passes its probe, 0 if not; no series while that is not known.",
			[]string{"pool"}, nil),
	}
}

// Describe sends what Collect can send.
func (c reportCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.ready, c.draining, c.weight, c.looked, c.findings, c.condition, c.pool} {
		ch <- d
	}
	c.repairs.Describe(ch)
}

// Collect renders the latest report.
func (c reportCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.latest()
	r := s.Report
	ch <- gauge(c.ready, number(s.Node.Ready))
	ch <- gauge(c.draining, number(r.Draining()))
	ch <- gauge(c.weight, float64(s.Node.WeightAt(time.Now())))
	if !r.Time.IsZero() {
		ch <- gauge(c.looked, float64(r.Time.UnixMilli())/1000)
	}
	c.count(ch, r)
	for _, f := range r.Findings {
		if f.Status == Failed || f.Status == Unknown {
			ch <- gauge(c.condition, 1, f.ID, string(f.Severity), string(f.Status))
		}
		if IsPool(f.ID) && (f.Status == OK || f.Status == Failed) {
			ch <- gauge(c.pool, number(f.Status == OK), strings.TrimPrefix(f.ID, poolPrefix))
		}
		if f.Owned {
			c.repairs.WithLabelValues(kind(f.ID)) // 0 before the first repair
		}
	}
	c.repairs.Collect(ch)
}

// count sends how many findings there are of each severity and status, none
// included.
func (c reportCollector) count(ch chan<- prometheus.Metric, r Report) {
	type class struct {
		severity Severity
		status   Status
	}
	counts := make(map[class]int)
	for _, f := range r.Findings {
		counts[class{f.Severity, f.Status}]++
	}
	for _, severity := range []Severity{Required, Advisory} {
		for _, status := range []Status{OK, Failed, Unknown, Skipped} {
			n := counts[class{severity, status}]
			ch <- gauge(c.findings, float64(n), string(severity), string(status))
		}
	}
}

// kind is the id of a condition without the VIP at its end, if it has one:
// tunnel/vip for tunnel/vip/203.0.113.10.
func kind(id string) string {
	i := strings.LastIndexByte(id, '/')
	if i < 0 {
		return id
	}
	if _, err := netip.ParseAddr(id[i+1:]); err != nil {
		return id
	}
	return id[:i]
}

// stateCollector renders what the metrics were told of the packet filter and of
// repairs that are held back.
type stateCollector struct {
	stateDescs
	metrics *Metrics
}

type stateDescs struct{ dropped, clamped, mss, guarding, stopped *prometheus.Desc }

func newStateDescs() stateDescs {
	return stateDescs{
		dropped: prometheus.NewDesc("rsagent_guard_dropped_packets_total",
			"Packets that the guard dropped: encapsulated and not from a director, or unwrapped and not for a VIP.",
			[]string{"class"}, nil),
		clamped: prometheus.NewDesc("rsagent_clamped_packets_total",
			"SYN-ACKs from a VIP whose MSS was lowered.", nil, nil),
		mss: prometheus.NewDesc("rsagent_clamp_mss_bytes",
			"The MSS that SYN-ACKs from a VIP are lowered to; 0 if they are left alone.", nil, nil),
		guarding: prometheus.NewDesc("rsagent_guard_active",
			"1 if the guard is wanted and in place as it should be.", nil, nil),
		stopped: prometheus.NewDesc("rsagent_repairs_stopped",
			"1 for each condition whose repair is held back, since something undoes it again and again.",
			[]string{"condition"}, nil),
	}
}

// Describe sends what Collect can send.
func (c stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.dropped, c.clamped, c.mss, c.guarding, c.stopped} {
		ch <- d
	}
}

// Collect renders what was told last.
func (c stateCollector) Collect(ch chan<- prometheus.Metric) {
	f, stopped := c.metrics.state()
	total := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	total(c.dropped, f.NotDirector, "not_director")
	total(c.dropped, f.NotVIP, "not_vip")
	total(c.clamped, f.Clamped)
	ch <- gauge(c.mss, float64(f.ClampMSS))
	ch <- gauge(c.guarding, number(f.Guarding))
	for _, id := range stopped {
		ch <- gauge(c.stopped, 1, id)
	}
}

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
