package health

import (
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is what the daemon tells Prometheus.
type Metrics struct {
	registry *prometheus.Registry
	repairs  *prometheus.CounterVec
	rounds   prometheus.Counter
	packets  atomic.Pointer[Packets]
}

// Packets is what the packet filter has counted, in packets.
type Packets struct {
	NotDirector uint64 // dropped: encapsulated, and not from a director
	NotVIP      uint64 // dropped: unwrapped, and not for a VIP
	Clamped     uint64 // SYN-ACKs whose MSS was lowered
}

// NewMetrics returns the metrics of a daemon of that version. What stands in
// the latest report is read from it at each scrape.
func NewMetrics(version string, latest func() Report) *Metrics {
	m := &Metrics{
		registry: prometheus.NewPedanticRegistry(),
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rsagent_repairs_total",
			Help: "Repairs done, by the condition that had failed.",
		}, []string{"condition"}),
		rounds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "rsagent_rounds_total",
			Help: "Looks at the node, with the repairs that followed.",
		}),
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "rsagent_build_info",
		Help:        "Always 1; the version is in the label.",
		ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 })
	m.packets.Store(&Packets{})
	dropped := func(class string, count func(*Packets) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "rsagent_guard_dropped_packets_total",
			Help:        "Packets that the guard dropped: encapsulated and not from a director, or unwrapped and not for a VIP.",
			ConstLabels: prometheus.Labels{"class": class},
		}, func() float64 { return float64(count(m.packets.Load())) })
	}
	clamped := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "rsagent_clamped_packets_total",
		Help: "SYN-ACKs from a VIP whose MSS was lowered.",
	}, func() float64 { return float64(m.packets.Load().Clamped) })
	m.registry.MustRegister(m.repairs, m.rounds, build, reportCollector{latest}, clamped,
		dropped("not_director", func(p *Packets) uint64 { return p.NotDirector }),
		dropped("not_vip", func(p *Packets) uint64 { return p.NotVIP }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Repaired counts a repair of the condition with that id.
func (m *Metrics) Repaired(id string) { m.repairs.WithLabelValues(id).Inc() }

// Round counts a look at the node.
func (m *Metrics) Round() { m.rounds.Inc() }

// Counted tells what the packet filter has counted so far.
func (m *Metrics) Counted(p Packets) { m.packets.Store(&p) }

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2})
}

type reportCollector struct{ latest func() Report }

// Describe sends what Collect can send.
func (c reportCollector) Describe(ch chan<- *prometheus.Desc) {
	d := reportDescs()
	ch <- d.ready
	ch <- d.draining
	ch <- d.condition
	ch <- d.observed
}

// Collect renders the latest report.
func (c reportCollector) Collect(ch chan<- prometheus.Metric) {
	d := reportDescs()
	r := c.latest()
	ready, _ := r.Ready()
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	gauge(d.ready, number(ready))
	gauge(d.draining, number(r.Draining()))
	if !r.Time.IsZero() {
		gauge(d.observed, float64(r.Time.UnixMilli())/1000)
	}
	for _, f := range r.Findings {
		for _, s := range []Status{OK, Failed, Unknown, Skipped} {
			gauge(d.condition, number(f.Status == s), f.ID, string(f.Severity), string(s))
		}
	}
}

type descs struct{ ready, draining, condition, observed *prometheus.Desc }

func reportDescs() descs {
	return descs{
		ready: prometheus.NewDesc("rsagent_ready",
			"1 if the node may have traffic for all its pools.", nil, nil),
		draining: prometheus.NewDesc("rsagent_draining",
			"1 while the node is on its way out of service.", nil, nil),
		condition: prometheus.NewDesc("rsagent_condition",
			"1 for the status that the condition has, 0 for the others.",
			[]string{"condition", "severity", "status"}, nil),
		observed: prometheus.NewDesc("rsagent_last_look_timestamp_seconds",
			"When the node was last looked at.", nil, nil),
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
