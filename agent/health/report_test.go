package health

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func required(id string, s Status) Finding {
	return Finding{ID: id, Title: "Title of " + id, Severity: Required, Status: s, Needs: []string{}}
}

func advisory(id string, s Status) Finding {
	f := required(id, s)
	f.Severity = Advisory
	return f
}

func TestReadiness(t *testing.T) {
	for _, test := range []struct {
		name     string
		findings []Finding
		status   Status
		ready    bool
		why      string
		drains   bool
	}{
		{"nothing looked at is not ready", nil, OK, false, "nothing is known yet", false},
		{"all good is ready", []Finding{required("a", OK), required("pool/web", OK)}, OK, true, "", false},
		{"an advisory finding does not gate", []Finding{required("a", OK), advisory("b", Failed)}, OK, true, "", false},
		{"the first failure is named", []Finding{required("a", OK), required("b", Failed), required("c", Skipped)}, Failed, false, "b failed", false},
		{"unknown is neither ready nor failed", []Finding{required("a", Unknown)}, Unknown, false, "a unknown", false},
		{"failed outweighs unknown", []Finding{required("a", Unknown), required("b", Failed)}, Failed, false, "b failed", false},
		{"one bad pool is enough", []Finding{required("pool/a", OK), required("pool/b", Failed)}, Failed, false, "pool/b failed", false},
		{"draining is not ready", []Finding{required("a", OK), required(DrainID, Failed)}, Failed, false, "draining", true},
		{"in service is not draining", []Finding{required(DrainID, OK)}, OK, true, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := NewReport(at, test.findings)
			if r.Status != test.status {
				t.Errorf("status: want %s, got %s", test.status, r.Status)
			}
			ready, why := r.Ready()
			if diff := cmp.Diff([]any{test.ready, test.why, test.drains}, []any{ready, why, r.Draining()}); diff != "" {
				t.Errorf("ready, why, draining (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadinessOfOnePool(t *testing.T) {
	bad := []Finding{required("a", OK), required("pool/a", OK), required("pool/b", Failed)}
	for _, test := range []struct {
		name     string
		findings []Finding
		pool     string
		want     []any // ready, why, known
	}{
		{"another pool does not count", bad, "a", []any{true, "", true}},
		{"its own state counts", bad, "b", []any{false, "pool/b failed", true}},
		{"the node counts", []Finding{required("a", Failed), required("pool/a", OK)}, "a", []any{false, "a failed", true}},
		{"a pool that is not there is not known", bad, "c", []any{true, "", false}},
		{"a drain counts", []Finding{required("pool/a", OK), required(DrainID, Failed)}, "a", []any{false, "draining", true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ready, why, known := NewReport(at, test.findings).PoolReady(test.pool)
			if diff := cmp.Diff(test.want, []any{ready, why, known}); diff != "" {
				t.Errorf("ready, why, known (-want +got):\n%s", diff)
			}
		})
	}
}

// A node is ready exactly if it has findings and every required one is ok,
// and a report that is not ok is never ready.
func TestReadyMeansEveryRequiredFindingIsOK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		findings := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Finding {
			return Finding{
				ID:       rapid.SampledFrom([]string{"a", "b", "pool/x", DrainID}).Draw(t, "id"),
				Severity: rapid.SampledFrom([]Severity{Required, Advisory}).Draw(t, "severity"),
				Status:   rapid.SampledFrom([]Status{OK, Failed, Unknown, Skipped}).Draw(t, "status"),
			}
		})).Draw(t, "findings")
		r := NewReport(at, findings)
		want := len(findings) > 0
		for _, f := range findings {
			if f.Severity == Required && f.Status != OK {
				want = false
			}
		}
		ready, why := r.Ready()
		if ready != want || ready != (why == "") {
			t.Fatalf("ready %v because of %q, want %v", ready, why, want)
		}
		if ready && r.Status != OK {
			t.Fatalf("ready although the report is %s", r.Status)
		}
	})
}
