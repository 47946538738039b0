package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"rsagent/agent/control"
)

// Kinds of reasons to drain. The last one that is lifted puts the node, or the
// pool, back into service.
const (
	byHand = "hand" // by the command drain; lasts until undrain, or the next boot
	byFile = "file" // while drain.file is there
	byStop = "stop" // until the daemon ends
)

// wholeNode stands for the node where pools are named.
const wholeNode = ""

// reasons are why the node and its pools are to be out of service: by pool, in
// the order in which they came, one of a kind.
type reasons map[string][]control.Reason

// add has a reason count. One of its kind that is there already keeps its time.
func (r reasons) add(pool string, one control.Reason) {
	list := slices.Clone(r[pool]) // what was published before is read elsewhere
	if i := slices.IndexFunc(list, func(old control.Reason) bool { return old.Kind == one.Kind }); i >= 0 {
		list[i].Text = one.Text
	} else {
		list = append(list, one)
	}
	r[pool] = list
}

// lift takes the reason of a kind away. It is false if there was none.
func (r reasons) lift(pool, kind string) bool {
	i := slices.IndexFunc(r[pool], func(o control.Reason) bool { return o.Kind == kind })
	if i < 0 {
		return false
	}
	r[pool] = slices.Delete(slices.Clone(r[pool]), i, i+1)
	if len(r[pool]) == 0 {
		delete(r, pool)
	}
	return true
}

func (r reasons) has(pool, kind string) bool {
	return slices.ContainsFunc(r[pool], func(o control.Reason) bool { return o.Kind == kind })
}

// pools are those with a reason, sorted, the node first.
func (r reasons) pools() []string { return slices.Sorted(maps.Keys(r)) }

// reasonsInWords says who asked for a drain.
func reasonsInWords(list []control.Reason) string {
	words := make([]string, len(list))
	for i, one := range list {
		switch one.Kind {
		case byHand:
			words[i] = "hand"
		case byStop:
			words[i] = one.Text // the signal
			continue
		default:
			words[i] = "the file"
		}
		if one.Text != "" {
			words[i] += fmt.Sprintf(" (%s)", one.Text)
		}
	}
	return strings.Join(words, ", ")
}
