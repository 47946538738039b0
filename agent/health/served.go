package health

import (
	"slices"
	"strings"
)

// Served is the answer for VIPs that have the same one: whether this node can
// serve them, and if not why.
type Served struct {
	VIPs   []string // empty: the report names none, so it is the whole node
	Status Status   // OK, Failed or Unknown
	Why    *Finding // the first that speaks against it; nil if Status is OK

	// Pools are the names of those that are not served. They are set if the
	// VIPs are served but for them.
	Pools []string
}

// Served returns whether this node can serve each VIP. The ones that cannot be
// served are first.
func (r Report) Served() []Served {
	vips, about := r.aboutVIPs()
	var list []Served
	for _, vip := range vips {
		s := r.served(about[""], about[vip])
		same := func(o Served) bool {
			return o.Status == s.Status && alike(o.Why, s.Why) && slices.Equal(o.Pools, s.Pools)
		}
		if i := slices.IndexFunc(list, same); i >= 0 {
			list[i].VIPs = append(list[i].VIPs, vip)
			continue
		}
		s.VIPs = []string{vip}
		list = append(list, s)
	}
	if len(vips) == 0 {
		list = append(list, r.served(about[""], nil))
	}
	slices.SortStableFunc(list, func(a, b Served) int { return badness(b.Status) - badness(a.Status) })
	return list
}

// aboutVIPs returns the VIPs that findings name, and by each of them the places
// of its findings; those that are about all are by the empty name.
func (r Report) aboutVIPs() (vips []string, about map[string][]int) {
	about = make(map[string][]int)
	for i, f := range r.Findings {
		if f.VIP != "" && about[f.VIP] == nil {
			vips = append(vips, f.VIP)
		}
		about[f.VIP] = append(about[f.VIP], i)
	}
	return vips, about
}

// alike tells whether two findings are the same, or of the same kind about two
// VIPs.
func alike(a, b *Finding) bool {
	return a == b || a != nil && b != nil && a.VIP != "" && b.VIP != "" && kind(a.ID) == kind(b.ID)
}

func badness(s Status) int {
	switch s {
	case Failed:
		return 2
	case Unknown:
		return 1
	}
	return 0
}

// served judges one VIP by the findings about all and about itself. What is wrong with the node counts before what is
// wrong with a pool, and a failure before what cannot be told.
func (r Report) served(general, own []int) Served {
	findings := slices.Sorted(slices.Values(slices.Concat(general, own)))
	node, pools := Served{Status: OK}, Served{Status: OK}
	good := 0
	for _, i := range findings {
		f := &r.Findings[i]
		switch {
		case f.Severity != Required:
		case !IsPool(f.ID) && !strings.HasPrefix(f.ID, servicePrefix):
			node.take(f)
		case f.Status != OK:
			pools.take(f)
			if name := f.ID[strings.LastIndexByte(f.ID, '/')+1:]; !slices.Contains(pools.Pools, name) {
				pools.Pools = append(pools.Pools, name)
			}
		case IsPool(f.ID):
			good++
		}
	}
	switch {
	case node.Status != OK:
		return node
	case good == 0:
		pools.Pools = nil
	}
	return pools
}

// take lets a finding speak against the answer.
func (s *Served) take(f *Finding) {
	if f.Status != Skipped && badness(f.Status) > badness(s.Status) {
		s.Status, s.Why = f.Status, f
	}
}
