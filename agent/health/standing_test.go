package health

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestStandingTellsPoolsThatDrainFromOthers(t *testing.T) {
	s := NewStanding(NewReport(at, []Finding{
		required("a", OK), required("pool/web", OK), required("pool/mail", OK), required("pool/down", Failed),
		required(DrainID, OK), required(PoolDrainID("web"), Failed), required(PoolDrainID("mail"), OK),
	}))
	want := map[string]Verdict{
		"web":  {Pool: "web", Why: "draining", Draining: true, Weight: Weight{Full: 100}},
		"mail": {Pool: "mail", Ready: true, Weight: Weight{Full: 100}},
		"down": {Pool: "down", Why: "pool/down failed", Weight: Weight{Full: 100}},
	}
	if diff := cmp.Diff(want, s.Pools); diff != "" {
		t.Errorf("pools (-want +got):\n%s", diff)
	}
	// Who asks for the node as a whole sends clients to every pool.
	if want := (Verdict{Why: "pool/down failed", Draining: true, Weight: Weight{Full: 100}}); s.Node != want {
		t.Errorf("node: want %+v, got %+v", want, s.Node)
	}
}

// What is worked out once is what the report says of itself.
func TestStandingAgreesWithItsReport(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		findings := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Finding {
			return Finding{
				ID:       rapid.SampledFrom([]string{"a", "b", "pool/x", "pool/y", "drain/x", "drain/y", DrainID}).Draw(t, "id"),
				Severity: rapid.SampledFrom([]Severity{Required, Advisory}).Draw(t, "severity"),
				Status:   rapid.SampledFrom([]Status{OK, Failed, Unknown, Skipped}).Draw(t, "status"),
			}
		})).Draw(t, "findings")
		// A drain is known or not, and required: see notDraining.
		for i, f := range findings {
			if IsDrain(f.ID) {
				findings[i].Severity = Required
				if f.Status != OK {
					findings[i].Status = Failed
				}
			}
		}
		r := NewReport(at, findings)
		s := NewStanding(r)
		if ready, why := r.Ready(); ready != s.Node.Ready || why != s.Node.Why {
			t.Fatalf("the report says %v %q, the standing %+v", ready, why, s.Node)
		}
		for name, v := range s.Pools {
			if ready, why, _ := r.PoolReady(name); ready != v.Ready || why != v.Why {
				t.Fatalf("of pool %s the report says %v %q, the standing %+v", name, ready, why, v)
			}
		}
	})
}
