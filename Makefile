# SPDX-License-Identifier: Apache-2.0
# make all      build the programs into build/
# make demo     set up, build and show the product at work (root)
# make test     set up and run everything, root tests included (root)
.SILENT:
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

export CGO_ENABLED := 0
TAGS    := netgo,osusergo
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOBUILD := go build -trimpath -buildvcs=false -tags $(TAGS) -ldflags '-s -w -X main.version=$(VERSION)'
PREFIX  ?= /usr/local
CNIDIR  ?= /opt/cni/bin

.PHONY: all build generate check unit modules root test bench fuzz soak fault agents containers newcomer rig demo install clean

all: build

build:
	mkdir -p build
	$(GOBUILD) -o build/phantom-ns ./cmd/phantom-ns
	$(GOBUILD) -o build/phantom-cni ./cmd/phantom-cni
	$(GOBUILD) -o build/phantom-runc ./cmd/phantom-runc

generate:
	bash test/setup/install.sh bpf
	go generate ./...

check:
	test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet -tags $(TAGS) ./...
	go vet -tags $(TAGS),root ./...
	go vet -tags $(TAGS),agents ./test/agents/...
	go vet -tags $(TAGS),fault ./test/fault/...
	go vet -tags $(TAGS),containers ./test/containers/...

# What make test sets up and runs, and how long one package may take. The rig's
# machines, which have no way out and emulate, say otherwise.
SETUP   ?= bpf clients keyring bench http cni systemd
SUITES  ?= ./...
TIMEOUT ?= 12m

unit:
	go test -tags $(TAGS) $(SUITES)

# Modules of their own: what they compare with is no dependency of the product.
modules:
	cd test/cdi && go vet ./... && go test -count 1 ./...
	cd test/kubernetes && go vet ./... && go test -count 1 ./...
	cd test/cni/cri && go vet -tags containers ./...

# One package at a time: root tests look at what the whole machine holds.
root: build
	bash test/setup/install.sh $(SETUP)
	go test -tags $(TAGS),root -p 1 -count 1 -timeout $(TIMEOUT) $(SUITES)

# The tag root adds to the unit tests: they are not run twice.
test: check
	$(MAKE) modules
	$(MAKE) root

bench: build
	bash test/setup/install.sh bench
	go build -trimpath -buildvcs=false -o build/bench ./test/bench
	build/bench
	go test -tags $(TAGS),root -run "^$$$$" -bench Connect -benchtime 2000x ./test/redirect
	go test -tags $(TAGS),root -run "^$$$$" -bench ADD -benchtime 50x ./test/cni
	go test -tags $(TAGS) -run "^$$$$" -bench 'KeepAlive|Throughput|FirstToken' -benchtime 3000x ./proxy
	go test -tags $(TAGS) -run "^$$$$" -bench Idle -benchtime 1x ./proxy
	go test -tags $(TAGS) -run "^$$$$" -bench 'Scan|Reader' ./proxy/scrub

FUZZTIME ?= 30s
fuzz:
	bash test/fuzz.sh $(FUZZTIME)

soak: build
	SOAK_SESSIONS=10000 SOAK_SECONDS=1200 go test -tags $(TAGS),root -count 1 -timeout 3h ./test/soak
	go test -tags $(TAGS),soak -count 1 -timeout 60m -run EightGiB ./proxy
	FAULT_ALL=1 $(MAKE) fault

# Each call that sets a session up, failed in turn; a minute, all uses with
# FAULT_ALL=1. How many uses there are differs between machines, so this is a
# target of its own.
fault: build
	go test -tags $(TAGS),fault -count 1 -timeout 60m ./test/fault

# The agents people use and a browser, 2.5 GB of them: a target of its own.
agents:
	bash test/setup/install.sh agents browser
	go test -tags $(TAGS),agents -p 1 -count 1 -timeout $(TIMEOUT) ./test/agents/...

# podman, containerd and Docker, with the guide's own lines; pods of Kubernetes'
# runtime interface.
containers: build
	bash test/setup/install.sh containers
	go test -tags $(TAGS),containers -count 1 -timeout $(TIMEOUT) ./test/containers/...
	cd test/cni/cri && go test -tags $(TAGS),containers -count 1 -timeout $(TIMEOUT) ./...

# The README's first steps as a new user of a new Debian, typed at a terminal.
newcomer:
	bash test/newcomer/newcomer.sh

rig:
	bash test/setup/install.sh rig
	bash test/rig/vagrant/run.sh

demo:
	bash test/demo/demo.sh

# sudo's PATH has no Go: what its user built is installed.
install:
	if command -v go >/dev/null; then $(MAKE) build; fi
	test -x build/phantom-ns -a -x build/phantom-cni -a -x build/phantom-runc || { echo 'make install: there is nothing to install; run make first' >&2; exit 1; }
	install -D -m 0755 build/phantom-ns $(DESTDIR)$(PREFIX)/bin/phantom-ns
	install -D -m 0755 build/phantom-runc $(DESTDIR)$(PREFIX)/bin/phantom-runc
	install -D -m 0755 build/phantom-cni $(DESTDIR)$(CNIDIR)/phantom-cni
	install -d $(addprefix $(DESTDIR)$(PREFIX)/lib/,systemd/system sysusers.d tmpfiles.d)
	sed 's#/usr/local/#$(PREFIX)/#' packaging/systemd/phantom-ns.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/phantom-ns.service
	install -m 0644 packaging/systemd/phantom-ns.socket $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 0644 packaging/systemd/phantom-ns.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/phantom-ns.conf
	install -m 0644 packaging/systemd/phantom-ns.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/phantom-ns.conf
	for page in docs/man/*; do install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man$${page##*.} $$page || exit 1; done

clean:
	rm -rf build
