package agent

import (
	"slices"
	"strings"

	"rsagent/agent/health"
	"rsagent/tunnel/path"
)

// limitConditions want the kernel to have room for what clients do.
func limitConditions() []Condition {
	return []Condition{
		connectionsHaveRoom(),
		tcpHasMemory(),
		hasRoom("ttl", health.Required, "Answers may go as far as the clients are", "Clients that are more hops away get no answer."),
		hasRoom("neighbours", health.Advisory, "The table of neighbours has room", "Answers to hosts of this segment are lost, now and then."),
		hasRoom("backlog", health.Advisory, "Services may queue connections", "Connections are refused or delayed as soon as a few come at once."),
		hasRoom("queue", health.Advisory, "Processors may queue packets", "Packets are lost when many come at once."),
		hasRoom("window", health.Advisory, "TCP may use a whole window", "Transfers are slow."),
		hasRoom("softnet", health.Advisory, "No processor drops packets", "Requests stall for a second or more."),
		hasRoom("fragments", health.Advisory, "What comes in fragments is put together", "Uploads stall."),
	}
}

const (
	conntrackID = "limits/conntrack"
	tcpMemID    = "limits/tcp_mem"
)

func connectionsHaveRoom() Condition {
	return hasRoom("conntrack", health.Required, "Connection tracking has room", "New connections time out.")
}

func tcpHasMemory() Condition {
	return hasRoom("tcp_mem", health.Required, "TCP has memory", "Connections stall, and new ones fail.")
}

func hasRoom(id string, severity health.Severity, title, effect string) Condition {
	return Condition{
		ID: "limits/" + id, Title: title, Effect: effect, Severity: severity,
		Evaluate: func(n Node) Verdict {
			v := Verdict{Status: health.OK, Want: "room", Got: "as wanted"}
			list := slices.DeleteFunc(slices.Clone(n.Examined.Path.Limits), func(l path.Limit) bool { return l.ID != id })
			var got, want, remedies []string
			for _, l := range list {
				got, want, remedies = append(got, l.Got), append(want, l.Want), append(remedies, l.Remedy)
			}
			if len(list) > 0 {
				v.Status = health.Failed
				v.Want, v.Got, v.Remedy = strings.Join(slices.Compact(want), "; "), strings.Join(got, "; "), strings.Join(remedies, "\n")
			}
			return v
		},
	}
}
