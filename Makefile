# make help says what there is to make.
.PHONY: help build demo test faults lint lab fuzz packages install uninstall clean FORCE
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

test: need-test bin/rsagent bin/lab bin/gotestsum bin/nfpm bin/relative ## run all tests, those in the lab too (root)
	go vet -tags lab,bench ./...
	bin/lab image >/dev/null
	bin/gotestsum --format testname --raw-command .ci/test-json

bench: need-bench bin/rsagent bin/lab bin/bench bin/agent.bench ## measure repairs, start, size, a storm and the endpoint (BENCH=--strict or --json; root)
	bin/bench $(BENCH)

faults: need-demo bin/rsagent bin/lab bin/faults ## do to a node what goes wrong in the field, and print what check says (RUN=pattern; root)
	mkdir -p lab-out && bin/lab exec --systemd --kernel security=selinux --with bin/rsagent --with packaging/rsagent.service bin/faults '$(RUN)' >lab-out/FAULTS.md; \
	status=$$?; cat lab-out/FAULTS.md; [ $$status -ne 0 ] || [ -n "$(RUN)" ] || cp lab-out/FAULTS.md lab/FAULTS.md; exit $$status

lint: need-lint bin/staticcheck ## check format and look for mistakes
	unformatted=$$($$(go env GOROOT)/bin/gofmt -l .); \
	[ -z "$$unformatted" ] || { echo "Not as gofmt has it:"; echo "$$unformatted"; exit 1; }
	go vet -tags lab,bench ./...
	bin/staticcheck -tags lab,bench ./...
	cd packaging/tools && go vet ./... && ../../bin/staticcheck ./...

lab: need-test bin/rsagent bin/lab ## run one test of the lab: make lab RUN=TestName
	[ -n "$(RUN)" ] || { echo "Which test? make lab RUN=TestName"; exit 2; }
	.ci/lab-test '$(RUN)' -v

fuzz: need-fuzz ## fuzz all that reads what a kernel or a file says (FUZZTIME=60s each, FUZZ=Name; root)
	.ci/fuzz

install: need-build bin/rsagent ## install rsagent below DESTDIR and PREFIX, /usr/local by default
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' packaging/install bin/rsagent

packages: need-build bin/nfpm bin/relative ## build rpm and deb for x86_64 and aarch64 in dist
	packaging/packages

uninstall: ## drain, give back what rsagent changed, and remove what install installed
	PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' packaging/uninstall

clean: ## remove what was built; the lab's image stays in ~/.cache/rsagent-lab
	rm -rf bin dist lab-out

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

bin/faults: FORCE
	go build -trimpath -buildvcs=false -o $@ ./lab/faults

bin/bench: FORCE
	go build -trimpath -buildvcs=false -o $@ ./lab/bench

bin/agent.bench: FORCE
	go test -c -trimpath -buildvcs=false -tags bench -o $@ ./agent

bin/gotestsum: .ci/tools/go.mod .ci/tools/go.sum
	go build -C .ci/tools -o $(CURDIR)/$@ gotest.tools/gotestsum && touch $@

bin/staticcheck: .ci/tools/go.mod .ci/tools/go.sum
	go build -C .ci/tools -o $(CURDIR)/$@ honnef.co/go/tools/cmd/staticcheck && touch $@

bin/relative: packaging/tools/go.mod packaging/tools/relative/main.go
	go build -C packaging/tools -trimpath -o $(CURDIR)/$@ ./relative && touch $@

bin/nfpm: packaging/tools/go.mod packaging/tools/go.sum
	go build -C packaging/tools -o $(CURDIR)/$@ github.com/goreleaser/nfpm/v2/cmd/nfpm && touch $@
