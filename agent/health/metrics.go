package health

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Where a round comes from. Word of changes comes from the links, the settings
// and the packet filter.
const (
	FromStart        = "start"
	FromLinks        = "links" // and their addresses and routes
	FromSettings     = "settings"
	FromPacketFilter = "packet_filter"
	FromProbe        = "probe"
	FromWeight       = "weight"
	FromSweep        = "sweep"
	FromSignal       = "signal"
	FromRetry        = "retry"
)

func triggers() []string {
	return append(sources(), FromStart, FromProbe, FromWeight, FromSweep, FromSignal, FromRetry)
}

func sources() []string { return []string{FromLinks, FromSettings, FromPacketFilter} }

// Metrics is what the daemon tells Prometheus. It may be used concurrently.
type Metrics struct {
	registry    *prometheus.Registry
	rounds      *prometheus.HistogramVec
	delays      *prometheus.HistogramVec
	repairs     *prometheus.CounterVec
	lost        *prometheus.CounterVec
	connections prometheus.Gauge

	mu       sync.Mutex
	firewall Firewall
	stopped  []string // sorted, each once; replaced, never changed
}

// Firewall is what the packet filter does, and has counted, in packets.
type Firewall struct {
	NotDirector uint64 // dropped: encapsulated, and not from a director
	NotVIP      uint64 // dropped: unwrapped, and not for a VIP
	Clamped     uint64 // SYN-ACKs whose MSS was lowered
	ClampMSS    int    // the MSS they are lowered to, in bytes; 0: there is no clamp
	Guarding    bool   // the guard is wanted, and in place as it should be
}

// NewMetrics returns the metrics of a daemon of that version. What stands in
// the latest report, and comes of it, is read at each scrape.
func NewMetrics(version string, latest func() *Standing) *Metrics {
	m := &Metrics{
		registry: prometheus.NewPedanticRegistry(),
		rounds: histogram("rsagent_round_duration_seconds",
			"How long a look at the node took, with the repairs that followed, by what started it.", "trigger", triggers()),
		delays: histogram("rsagent_repair_delay_seconds",
			"From word of a change to its repair, by where the word came from.", "source", sources()),
		repairs: counter("rsagent_repairs_total",
			"Repairs done, by the condition that had failed; those of all VIPs count as one.", "condition", nil),
		lost: counter("rsagent_events_lost_total",
			"Times that the kernel had to drop word of changes; all is looked at again then.", "source", sources()),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "rsagent_drain_connections",
			Help: "Connections still open while the node drains.",
		}),
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "rsagent_build_info",
		Help:        "Always 1; the version is in the label.",
		ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 })
	m.registry.MustRegister(m.rounds, m.delays, m.lost, m.connections, build,
		reportCollector{newReportDescs(), latest, m.repairs}, stateCollector{newStateDescs(), m},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// histogram has a series for each value of its label from the start, since an
// increase from nothing is none.
func histogram(name, help, label string, values []string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: []float64{
		100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
	}}, []string{label})
	for _, v := range values {
		h.WithLabelValues(v)
	}
	return h
}

// counter has a series for each value of its label from the start.
func counter(name, help, label string, values []string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	for _, v := range values {
		c.WithLabelValues(v)
	}
	return c
}

// Round notes a look at the node with the repairs that followed: what started
// it, one of the From constants, and how long it took.
func (m *Metrics) Round(trigger string, took time.Duration) {
	m.rounds.WithLabelValues(trigger).Observe(took.Seconds())
}

// Mended notes that what the source (FromLinks, FromSettings or
// FromPacketFilter) told of was repaired, and how long after that word.
func (m *Metrics) Mended(source string, wrong time.Duration) {
	m.delays.WithLabelValues(source).Observe(wrong.Seconds())
}

// Repaired counts a repair of the condition with that id.
func (m *Metrics) Repaired(id string) { m.repairs.WithLabelValues(kind(id)).Inc() }

// Lost counts that the kernel had to drop word of changes from the source:
// FromLinks, FromSettings or FromPacketFilter.
func (m *Metrics) Lost(source string) { m.lost.WithLabelValues(source).Inc() }

// DrainConnections tells how many connections a drain still waits for; 0 when
// there is none.
func (m *Metrics) DrainConnections(n int) { m.connections.Set(float64(n)) }

// Counted tells what the packet filter does and has counted so far. A look that
// failed has nothing to tell: its zeros would read as counters that began anew.
func (m *Metrics) Counted(f Firewall) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.firewall = f
}

// Stopped tells the ids of all conditions whose repair is held back, since
// something undoes it again and again.
func (m *Metrics) Stopped(conditions []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Equal(conditions, m.stopped) {
		return
	}
	now := slices.Clone(conditions)
	slices.Sort(now)
	m.stopped = slices.Compact(now)
}

// state returns what Counted and Stopped told last.
func (m *Metrics) state() (Firewall, []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.firewall, m.stopped
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2})
}
