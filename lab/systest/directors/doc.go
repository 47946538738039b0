// Package directors has every kind of director that Debian has, with what `rsagent
// config director` writes for it, look after real nodes in the lab.
package directors
