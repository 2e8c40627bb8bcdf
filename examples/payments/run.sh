#!/usr/bin/env bash
# Starts caracal dev, plays the payments walk against it, and serves until
# interrupted. Usage: examples/payments/run.sh DATA-DIR
set -euo pipefail
cd "$(dirname "$0")/../.."
data=${1:?the data directory}
admin=${ADMIN_ADDR:-127.0.0.1:3000}
decide=${DECIDE_ADDR:-127.0.0.1:8181}

# What caracal dev prints has the admin token in it: nobody else is to read it.
# The rest goes on with the caller's umask, which is that of Go's caches.
(
	umask 077
	mkdir -p "$data"
	rm -f "$data/env" "$data/dev.out"
	: >"$data/dev.out"
)
bin/caracal dev --data-dir "$data" --admin-addr "$admin" --decide-addr "$decide" >>"$data/dev.out" &
dev=$!
trap 'kill "$dev" 2>/dev/null || true; wait "$dev" || true' EXIT
trap 'exit 0' INT TERM

until [ -f "$data/env" ]; do
	if ! kill -0 "$dev" 2>/dev/null; then
		echo "caracal dev did not start" >&2
		exit 1
	fi
	sleep 0.05
done
# shellcheck disable=SC1091
. "$data/env"

"${GO:-go}" run ./examples/payments

cat <<TEXT

Serving until interrupted (Ctrl-C).

  console         $CARACAL_API_URL/console/   (bin/caracal web signs you in)
  admin API       $CARACAL_API_URL/docs/
  metrics         $CARACAL_API_URL/metrics
  decisions       $CARACAL_DECIDE_URL/v1/decide

Try, in another terminal:

  . $data/env
  bin/caracal web                  # the console, signed in
  bin/caracal policy-set active
  bin/caracal decide examples/payments/inputs/refund.json
  bin/caracal audit list
  bin/caracal audit tail
  go run ./examples/iterate        # fix a denial: explain, simulate a candidate, activate
TEXT
wait "$dev"
