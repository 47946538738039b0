package health

// Standing is a report, and what it comes to for those who ask again and again:
// worked out once, since a report may have thousands of findings.
type Standing struct {
	Report
	Node  Verdict            // of the node with all its pools
	Pools map[string]Verdict // of each pool, with the node
}

// Verdict is whether the node, or one of its pools, may have traffic.
type Verdict struct {
	Pool     string // empty: the node
	Ready    bool
	Why      string // it is not, as Report.Ready has it; "draining" may hide behind another cause
	Draining bool
	Drained  bool // Draining, and nothing is left to wait for
	Unasked  bool // it is not ready only since a service was not asked yet

	// Weight is what it wants while it is ready; NewStanding has it full.
	Weight Weight
}

// first is where the first finding of each kind stands that speaks against
// readiness; -1: there is none.
type first struct{ failed, unknown, draining int }

func none() first { return first{-1, -1, -1} }

// take notes that the finding at i counts.
func (s *first) take(i int, f *Finding) {
	switch {
	case f.Severity != Required || f.Status == OK:
	case IsDrain(f.ID) && f.Status == Failed:
		s.draining = earlier(s.draining, i)
	case f.Status == Failed:
		s.failed = earlier(s.failed, i)
	default:
		s.unknown = earlier(s.unknown, i)
	}
}

func (s first) with(o first) first {
	return first{earlier(s.failed, o.failed), earlier(s.unknown, o.unknown), earlier(s.draining, o.draining)}
}

// earlier is the smaller place; -1 is none.
func earlier(a, b int) int {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// NewStanding works out what a report comes to.
func NewStanding(r Report) *Standing {
	node, all := none(), none()
	pools := make(map[string]first)
	for i := range r.Findings {
		f := &r.Findings[i]
		all.take(i, f)
		name := poolOf(f.ID)
		if name == "" {
			node.take(i, f)
			continue
		}
		one, known := pools[name]
		if !known {
			one = none()
		}
		one.take(i, f)
		pools[name] = one
	}
	s := &Standing{Report: r, Node: r.verdict("", all), Pools: make(map[string]Verdict, len(pools))}
	for name, one := range pools {
		s.Pools[name] = r.verdict(name, one.with(node))
	}
	return s
}

func (r Report) verdict(pool string, s first) Verdict {
	v := Verdict{
		Pool: pool, Weight: Weight{Full: 100},
		Draining: s.draining >= 0, Drained: s.draining >= 0 && r.Findings[s.draining].Got == Drained,
	}
	switch {
	case len(r.Findings) == 0:
		v.Why = "nothing is known yet"
	case s.failed >= 0 && (s.draining < 0 || s.failed < s.draining):
		v.Why = r.Findings[s.failed].ID + " failed"
	case s.draining >= 0:
		v.Why = "draining"
	case s.unknown >= 0:
		f := r.Findings[s.unknown]
		v.Why = f.ID + " " + string(f.Status)
		v.Unasked = f.Status == Unknown && IsPool(f.ID)
	default:
		v.Ready = true
	}
	return v
}
