# shellcheck shell=bash
# What the drills share; sourced, not run. They act on the cluster that kubectl sees, where the production
# overlay is up and nobody else shops meanwhile: the audit counts carts. The cluster must have room for as many replicas of
# cart as the autoscaler may make, and one more: a rollout does not end while a pod waits for room.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DRILL=$(basename "$0")
SHOP=http://gateway.gifticon.svc.cluster.local:8080
WORK=$(mktemp -d)
UNITS=100000000 # on sale for one drill: it is not to be sold out

say() { printf '%s %s\n' "$(date +%T)" "$*"; }
k() { kubectl -n gifticon "$@"; }
in_load() { kubectl -n gifticon-load exec siege -- "$@"; }
verdict=
passed() { verdict="PASSED $DRILL: $*"; } # said when all is put back
failed() { verdict="FAILED $DRILL: $*"; say "$verdict"; exit 1; }

# What the drill changed is put back whatever comes: each says how.
put_back() { :; }
leave() {
  local status=$?
  trap - EXIT
  put_back || { say "not all was put back: apply the overlay again"; status=1; }
  [ ! -e "$WORK/siege.pid" ] || siege_stops || true
  rm -rf "$WORK"
  if [ "$status" -eq 0 ]; then
    say "$verdict"
  elif [[ "$verdict" != FAILED* ]]; then
    say "FAILED $DRILL: a step above did not work (exit $status)"
  fi
  exit "$status"
}
trap leave EXIT
trap 'exit 130' INT TERM

until_ok() { # SECONDS COMMAND...: until it succeeds, or fails when it never does
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 1
  done
}

rolled_out() { # DEPLOYMENT...
  local one
  for one in "$@"; do k rollout status "deployment/$one" --timeout 180s >/dev/null || return 1; done
}

ask() { # METHOD PATH [BODY]: the body of the answer, then a line with its status and its seconds
  in_load curl -s -m 20 -X "$1" -H 'Content-Type: application/json' ${3:+-d "$3"} -w '\n%{http_code} %{time_total}\n' "$SHOP$2"
}

status_of() { ask "$@" | tail -n 1 | cut -d ' ' -f 1; }

number() { # FIELD PATH: a number in an answer of the shop
  in_load curl -sf -m 20 "$SHOP$2" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"
}

total() { # COLLECTION: fails where nothing answers
  local count
  count=$(number totalElements "/$1?size=1") && [ -n "$count" ] && echo "$count"
}

# Looks whether the shop is there and well, and puts a gifticon on sale: GIFTICON is its id.
begin() {
  k get hpa cart >/dev/null || failed "the production overlay is not up: kubectl apply -k kubernetes/overlays/production"
  kubectl apply -f "$HERE/siege.yaml" >/dev/null
  kubectl -n gifticon-load wait --for=condition=Ready pod/siege --timeout 60s >/dev/null || failed "the pod siege does not start"
  rolled_out gifticon cart payment mypage gateway || failed "the shop is not up: kubectl -n gifticon get pods; and if pods of cart are Pending, the autoscaler wants more than there is room for"
  GIFTICON=$(date +%s)
  [ "$(status_of POST /gifticons "{\"gifticonId\":\"$GIFTICON\",\"name\":\"Americano\",\"availableQuantity\":\"$UNITS\",\"price\":\"5000\"}")" = 201 ] ||
    failed "gifticon $GIFTICON cannot be put on sale"
  CARTS=$(total carts)
  PAYMENTS=$(total payments)
  VIEWS=$(total mypages)
  say "gifticon $GIFTICON is on sale; $CARTS carts are there"
}

add_cart() { status_of POST /carts "{\"gifticonId\":\"$GIFTICON\",\"quantity\":\"1\"}"; }

# siege on POST /carts, in the background; siege_ends or siege_stops ends it.
siege_begins() { # CUSTOMERS SECONDS [PAUSE]: each customer waits for up to PAUSE seconds between carts
  local load="-c$1 -t$2S${3:+ -d$3}"
  say "siege $load on POST /carts"
  rm -f "$WORK/siege.log"
  in_load bash -c "echo \$\$ >/tmp/pid && exec siege $load --content-type application/json '$SHOP/carts POST {\"gifticonId\": \"$GIFTICON\", \"quantity\": 1}'" \
    >"$WORK/siege.log" 2>&1 &
  echo $! >"$WORK/siege.pid"
}

# Waits until its time is up, and prints what it says. AVAILABILITY (per cent), SUCCEEDED and FAILED (requests) are set.
siege_ends() {
  local pid
  pid=$(cat "$WORK/siege.pid")
  rm "$WORK/siege.pid"
  wait "$pid" || true
  grep -E '^[{}]|^\s*"' "$WORK/siege.log" || { tail -n 5 "$WORK/siege.log"; failed "siege printed no result"; }
  # shellcheck disable=SC2034 # the drills read them
  AVAILABILITY=$(of_siege availability) SUCCEEDED=$(of_siege successful_transactions) FAILED=$(of_siege failed_transactions)
}

# Ends it before its time is up.
siege_stops() {
  # shellcheck disable=SC2016 # it is expanded there
  in_load bash -c 'kill -INT "$(cat /tmp/pid)"'
  siege_ends
}

of_siege() { sed -n "s/.*\"$1\":[^0-9]*\([0-9.]*\).*/\1/p" "$WORK/siege.log" | head -n 1; }

# Every cart of the drill has its payment and its view, and nothing was sold twice or leaked: what was put on sale is what
# is left and what is in carts. What is on its way gets SECONDS to arrive.
audit() { # SECONDS
  local added left
  until_ok "$1" settled || failed "$(total carts) carts, $(total payments) payments and $(total mypages) views, of which $CARTS, $PAYMENTS and $VIEWS were there before"
  added=$(($(total carts) - CARTS))
  left=$(number availableQuantity "/gifticons/search/findByGifticonId?gifticonId=$GIFTICON")
  [ $((left + added)) -eq "$UNITS" ] || failed "$UNITS units were put on sale: $left are left and $added are in carts"
  # A cart that was taken is there; one more may be of a customer who did not hear of it.
  [ "$added" -ge "${SUCCEEDED:-0}" ] || failed "$SUCCEEDED carts were taken, and $added are there"
  say "audit: $added carts added, each with its payment and its view; $left of $UNITS units left"
}

settled() {
  local carts payments views
  carts=$(total carts) && payments=$(total payments) && views=$(total mypages) || return 1
  [ $((payments - PAYMENTS)) -eq $((carts - CARTS)) ] && [ $((views - VIEWS)) -eq $((carts - CARTS)) ]
}
