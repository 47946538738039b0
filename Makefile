# make help says what there is to make.
.PHONY: help build demo test lint lab clean FORCE
.SILENT:
.NOTPARALLEL:
.DEFAULT_GOAL := help

# A Go that lab/need fetched, where the system has none that is new enough.
cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rsagent-lab
export PATH := $(cache)/go/bin:$(PATH):/usr/sbin:/sbin

export CGO_ENABLED := 0

help: ## say what there is to make
	sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 8

build: need-build bin/rsagent ## build bin/rsagent, one static binary

demo: need-demo bin/rsagent bin/lab bin/demo ## show what rsagent does, on real directors and nodes (root)
	bin/lab exec --with bin/rsagent bin/demo

test: need-test bin/rsagent bin/lab bin/gotestsum ## run all tests, those in the lab too (root)
	go vet -tags lab ./...
	bin/lab image >/dev/null
	bin/gotestsum --format testname --raw-command .ci/test-json

lint: need-lint bin/staticcheck ## check format and look for mistakes
	unformatted=$$($$(go env GOROOT)/bin/gofmt -l .); \
	[ -z "$$unformatted" ] || { echo "Not as gofmt has it:"; echo "$$unformatted"; exit 1; }
	go vet -tags lab ./...
	bin/staticcheck -tags lab ./...

lab: need-test bin/rsagent bin/lab ## run one test of the lab: make lab RUN=TestName
	[ -n "$(RUN)" ] || { echo "Which test? make lab RUN=TestName"; exit 2; }
	.ci/lab-test '$(RUN)' -v

clean: ## remove what was built; the lab's image stays in ~/.cache/rsagent-lab
	rm -rf bin lab-out

need-%:
	lab/need $*

bin/rsagent: FORCE
	echo "Building $@" >&2
	go build -trimpath -buildvcs=false -o $@ \
		-ldflags "-X main.version=$$(git describe --tags --always --dirty 2>/dev/null || echo unknown)" \
		./cmd/rsagent

bin/lab: FORCE
	go build -trimpath -buildvcs=false -o $@ ./lab

bin/demo: FORCE
	go build -trimpath -buildvcs=false -o $@ ./lab/demo

bin/gotestsum: .ci/tools/go.mod .ci/tools/go.sum
	go build -C .ci/tools -o $(CURDIR)/$@ gotest.tools/gotestsum && touch $@

bin/staticcheck: .ci/tools/go.mod .ci/tools/go.sum
	go build -C .ci/tools -o $(CURDIR)/$@ honnef.co/go/tools/cmd/staticcheck && touch $@
