package agent

import (
	"os"
	"path/filepath"
	"slices"
)

// withoutIPIP makes an agent work in a kernel that has no IPIP, with a device of
// another kind in the tunnel's place: the conditions of IPIP itself are left
// out, and all others are the real ones. What the agent reads of the kernel's
// modules stands below root.
func withoutIPIP(a *Agent, root string) error {
	conditions := leaveOutIPIP(a.judge.conditions)
	a.judge = newJudge(conditions)
	// Where there is no device of kind ipip, each look asks whether the module
	// is there.
	a.host.Root, a.follower.host.Root = root, root
	if err := os.MkdirAll(filepath.Join(root, "proc"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "proc", "modules"), []byte("ipip 16384 0 - Live 0x0\n"), 0o644)
}

// leaveOutIPIP leaves the conditions of IPIP itself out of a list.
func leaveOutIPIP(conditions []Condition) []Condition {
	ids := []string{kernelID, deviceKindID}
	conditions = slices.DeleteFunc(conditions, func(c Condition) bool { return slices.Contains(ids, c.ID) })
	for i, c := range conditions {
		conditions[i].Needs = slices.DeleteFunc(slices.Clone(c.Needs), func(id string) bool { return slices.Contains(ids, id) })
	}
	return conditions
}
