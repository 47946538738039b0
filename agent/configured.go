package agent

import (
	"strconv"
	"strings"

	"rsagent/agent/config"
	"rsagent/sysctl"
)

// configured are the values under [sysctl]. A setting that stands there belongs
// to whoever wrote it: what rsagent itself would have it be yields to that.
type configured map[sysctl.Key]string

func configuredIn(c config.Config) configured {
	values := make(configured, len(c.Sysctl))
	for _, s := range c.Sysctl {
		values[s.Path] = s.Value
	}
	return values
}

func (c configured) has(key sysctl.Key) bool {
	_, ok := c[key]
	return ok
}

// number is the value as the kernel reads it: white space does not count, and
// it may be octal or hexadecimal (proc_get_long, kernel/sysctl.c). A setting
// that is not configured is an error.
func (c configured) number(key sysctl.Key) (int, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(c[key]), 0, 64)
	return int(n), err
}
