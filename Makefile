# make          build everything          make demo   build, then show the mesh at work in a lab of network namespaces
# make test     build, lint and test      make deps   install the Debian packages that the others need (they call it themselves)
.PHONY: build demo test lint tidy format deps clean
.DELETE_ON_ERROR:

export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

# Compilers and headers for the build; the programs that run in lab pods, capture packets and act as independent peers in tests.
BUILD_PACKAGES := g++ make cmake ninja-build pkg-config clang llvm bpftool libbpf-dev libelf-dev zlib1g-dev libmnl-dev libnftables-dev \
  libnghttp2-dev libssl-dev nlohmann-json3-dev
TEST_PACKAGES := clang-format clang-tidy libclang-rt-14-dev iproute2 nftables util-linux procps curl ca-certificates openssl tcpdump tshark \
  iperf3 redis-server redis-tools nghttp2-client jq debootstrap prometheus
DEBIAN_PACKAGES = $(BUILD_PACKAGES) $(TEST_PACKAGES)

SOURCES := $(shell find src -name '*.ts')
NATIVE_SOURCES := $(shell find native bpf -type f) CMakeLists.txt

build: dist/.built build/native/.built

# npm leaves out binaries of packages that do not want the Node it runs on; where that is an older one than ours, it runs on ours.
node_modules/.installed: package.json package-lock.json
	@quietly="--loglevel=error --no-fund --no-audit"; \
	if node -e 'process.exit(process.versions.node.split(".")[0] < 24 ? 0 : 1)'; then \
	  package=node-linux-$$(node -p process.arch); own=$(CURDIR)/build/npm; \
	  version=$$(node -p 'require("./package-lock.json").packages["node_modules/'$$package'"].version') || exit 1; \
	  npm install --prefix $$own --no-save --no-package-lock $$quietly $$package@$$version >/dev/null || exit 1; \
	  PATH=$$own/node_modules/$$package/bin:$$PATH; \
	fi; \
	npm ci $$quietly >/dev/null
	@ln -sfn ../node-linux-$$(node -p process.arch)/bin/node node_modules/.bin/node # npm 9 leaves this link out
	@touch $@

# Packages are looked up one by one: asking apt when nothing is missing would need the network for nothing.
build/.deps: Makefile
	@missing=$$(for p in $(DEBIAN_PACKAGES); do \
	  [ "$$(dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null)" = installed ] || echo $$p; done); \
	if [ -n "$$missing" ]; then $(MAKE) --no-print-directory deps MISSING="$$(echo $$missing)"; fi
	@mkdir -p build && touch $@

# policy-rc.d keeps apt from starting the services that some packages bring; a policy of the machine's own stays in force.
deps:
	@[ "$$(id -u)" = 0 ] || { echo "make deps needs root: it installs Debian packages" >&2; exit 1; }
	@echo "installing $(or $(MISSING),$(DEBIAN_PACKAGES))"
	@own=; if [ ! -e /usr/sbin/policy-rc.d ]; then own=1; printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d; fi; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  $(or $(MISSING),$(DEBIAN_PACKAGES)) >/dev/null; status=$$?; \
	if [ -n "$$own" ]; then rm -f /usr/sbin/policy-rc.d; fi; exit $$status

dist/.built: node_modules/.installed tsconfig.json tsconfig.build.json $(SOURCES)
	@rm -rf dist
	npm run --silent build
	@touch $@

build/native/.built: build/.deps node_modules/.installed $(NATIVE_SOURCES)
	npm run --silent build:native
	@touch $@

demo: build
	@node bin/warren.js demo

test: build lint
	@vitest run

lint: node_modules/.installed build/.deps
	@tsc --noEmit -p tsconfig.json
	@biome check . --reporter=summary >/dev/null || biome check .
	@oxlint --type-aware --deny-warnings --quiet
	@clang-format --dry-run --Werror $$(find native bpf test -name '*.cc' -o -name '*.h' -o -name '*.c')

# Minutes, not seconds: kept out of `make lint`.
tidy: build/native/.built
	run-clang-tidy -quiet -p build/native -j 2 -extra-arg=-Wno-ignored-optimization-argument '/native/.*\.cc$$'

format: node_modules/.installed
	biome check --write .
	clang-format -i $$(find native bpf test -name '*.cc' -o -name '*.h' -o -name '*.c')

clean:
	rm -rf dist build node_modules
