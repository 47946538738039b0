// Package packaging is what makes rsagent a part of a system: its unit, what it
// installs beside itself, and the packages of it. It has tests alone.
package packaging
