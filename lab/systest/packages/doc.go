// Package packages installs, upgrades and removes the packages of rsagent on a
// machine with a real systemd, as their users do, and has the linters of both
// kinds look at them. Run it by
//
//	make lab RUN='Test.*Package.*'
package packages
