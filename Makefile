# Every target sets up what it needs. Go is all that has to be there: the
# toolchain and the modules that go.mod names are fetched by the go command.

GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS     := -s -w -X main.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
DATA        ?= $(CURDIR)/dev-data

# The race detector needs a C compiler; without one the tests run without it.
RACE        := $(shell command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 && echo -race)

# Everything is built alike, so that nothing is built twice.
export GOFLAGS += -trimpath

.PHONY: run build test test-scale deploy-check lint bench cerbos conformance fmt generate cross clean

run: build ## Build, start caracal dev, play the payments walk against it, and serve until interrupted
	@CGO_ENABLED=0 examples/payments/run.sh "$(DATA)"

build: ## Leave bin/caracal, bin/caracald and bin/caracal-bench
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/caracal ./cmd/caracald
	cd bench && CGO_ENABLED=0 $(GO) build -ldflags '$(LDFLAGS)' -o ../bin/ ./caracal-bench

test: build ## All tests
	$(GO) test $(RACE) -timeout 40m ./...
	$(GO) test -run 'TestAllocations$$' ./daemon ./policy
	cd bench && $(GO) test -timeout 10m ./...
	@$(MAKE) --no-print-directory deploy-check

# Its own module keeps Helm's and Kubernetes' libraries out of the others.
deploy-check: ## Check chart, units, container file, alerts and dashboards, against schemas and the running binaries
	cd deploy && $(GO) test -timeout 20m ./...

test-scale: build ## Tests at their full size: replicas killed for minutes, the database killed, ten thousand watchers that come back
	CARACAL_TEST_SCALE=1 $(GO) test -count 1 -timeout 30m -v ./cmd/caracal -run 'TestReplicasKilled|TestAloneDaemon|TestKills$$'
	CARACAL_TEST_SCALE=1 $(GO) test -count 1 -timeout 30m -v ./admin/store/postgres -run 'TestKilled$$'
	bin/caracal-bench --fleet --json

lint: ## Format, vet, static analysis, module files, generated files, import rules, cross builds
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not gofmt-ed:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) mod tidy -diff
	CGO_ENABLED=0 $(GO) vet ./...
	CGO_ENABLED=0 $(GO) run $(STATICCHECK) ./...
	cd bench && $(GO) mod tidy -diff && CGO_ENABLED=0 $(GO) vet ./... && CGO_ENABLED=0 $(GO) run $(STATICCHECK) ./...
	cd deploy && $(GO) mod tidy -diff && CGO_ENABLED=0 $(GO) vet ./... && CGO_ENABLED=0 $(GO) run $(STATICCHECK) ./...
	@$(MAKE) --no-print-directory cross

# One that differs in system and processor alike: nothing here is for one of the two alone.
cross: ## Both binaries also build for another system and processor
	@echo "building for darwin/arm64"
	@CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./cmd/caracal
	@CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./cmd/caracald

bench: build cerbos ## Measure beside peers, in one run, and write bench/RESULTS.md, bench/inprocess.txt and README's table
	cd bench && ../bin/caracal-bench --cerbos ../bin/cerbos --markdown RESULTS.md --samples inprocess.txt --svg plots --table ../README.md

# Its own module keeps what Cerbos requires, which takes minutes to build at
# first, out of the others and out of the tests.
cerbos: ## Leave bin/cerbos, a peer of the benchmark
	@mkdir -p bin
	cd bench/cerbos && CGO_ENABLED=0 $(GO) build -ldflags '-s -w' -o ../../bin/ github.com/cerbos/cerbos/cmd/cerbos

conformance: ## Run OPA's conformance cases against the compiled engine, and say how many
	$(GO) test ./policy -run TestConformance -count 1 -v

fmt: ## Format the code
	gofmt -w $$(git ls-files '*.go')

generate: ## Write generated files anew: the OpenAPI document, the reference, the dashboards, the TypeScript clients, the console's pages
	$(GO) test ./admin -run TestOpenAPI -update
	$(GO) test ./cmd/caracal -run TestReference -update
	cd deploy && $(GO) test -run TestDashboards -update . && $(GO) test -run TestChartFiles -update .
	cd admin/typescript && npm ci --no-audit --no-fund && npm run generate && npm run build
	cd daemon/typescript && npm ci --no-audit --no-fund && npm run build
	cd admin/console && npm ci --no-audit --no-fund && npm run build

clean:
	rm -rf bin dev-data
