# shellcheck shell=bash
# What the drills share; sourced, not run. They act on the cluster that kubectl sees, where the production
# overlay is up and nobody else shops meanwhile: the audit counts carts. The cluster must have room for as many replicas of
# cart as the autoscaler may make, and one more: a rollout does not end while a pod waits for room.
# Needs bash, kubectl, awk, sed and grep here, and the image of siege/Dockerfile there.
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
  local status=$? kept
  trap - EXIT
  put_back || { say "not all was put back: apply the overlay again"; status=1; }
  if [ -e "$WORK/siege.pid" ]; then
    interrupt_siege || true
    read_siege && tell_failures || true
  fi
  if [ "$status" -ne 0 ] && [ -e "$WORK/siege.log" ]; then
    kept=${TMPDIR:-/tmp}/gifticon-$DRILL-$(date +%Y%m%d-%H%M%S).log
    cp "$WORK/siege.log" "$kept" && say "what siege said is kept in $kept"
  fi
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

without_room() { # how many pods no node has room for
  k get pods -o jsonpath='{range .items[*]}{.status.conditions[?(@.type=="PodScheduled")].reason}{"\n"}{end}' | grep -c Unschedulable || true
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
  kubectl apply -f "$HERE/siege.yaml" >/dev/null 2>&1 || { # a pod of another version of it cannot be changed
    kubectl -n gifticon-load delete pod siege --ignore-not-found >/dev/null
    kubectl apply -f "$HERE/siege.yaml" >/dev/null
  }
  kubectl -n gifticon-load wait --for=condition=Ready pod/siege --timeout 60s >/dev/null || failed "the pod siege does not start"
  rolled_out gifticon cart payment mypage gateway || failed "the shop is not up: kubectl -n gifticon get pods; there is no room for $(without_room) pods. If they are cart's, the autoscaler wants too many"
  GIFTICON=$(date +%s)
  [ "$(status_of POST /gifticons "{\"gifticonId\":\"$GIFTICON\",\"name\":\"Americano\",\"availableQuantity\":\"$UNITS\",\"price\":\"5000\"}")" = 201 ] ||
    failed "gifticon $GIFTICON cannot be put on sale"
  CARTS=$(total carts)
  PAYMENTS=$(total payments)
  VIEWS=$(total mypages)
  say "gifticon $GIFTICON is on sale; $CARTS carts are there"
}

add_cart() { status_of POST /carts "{\"gifticonId\":\"$GIFTICON\",\"quantity\":\"1\"}"; }

# Run in the pod. siege writes a line for each request, with time and status, and its messages and result, whose lines get a
# time here. All of it is kept in the pod's /tmp until read_siege has read it. Without a limit of its own, siege would give up
# after 1,024 failures.
# shellcheck disable=SC2016 # it is expanded there
SIEGE='
printf "%s\n" "verbose = true" "timestamp = true" "color = off" "json_output = false" "show-logfile = false" "logging = false" \
  "parser = false" "connection = close" "failures = 1000000000" >/tmp/siegerc
rm -f /tmp/siege.*
{
  (echo "$BASHPID" >/tmp/siege.pid && exec siege -R /tmp/siegerc "$@" 2>&1 >/tmp/siege.requests)
  echo "$?" >/tmp/siege.status
} | while IFS= read -r line; do printf "[%(%F %T)T] %s\n" -1 "$line"; done >/tmp/siege.messages
exit "$(cat /tmp/siege.status)"
'

# siege on POST /carts, in the background; siege_ends or siege_stops ends it.
siege_begins() { # CUSTOMERS SECONDS [PAUSE]: each customer waits for up to PAUSE seconds between carts
  say "siege -c$1 -t$2S${3:+ -d$3} on POST /carts"
  SIEGE_SECONDS=$2
  in_load bash -c "$SIEGE" siege "-c$1" "-t$2S" ${3:+"-d$3"} --content-type application/json \
    "$SHOP/carts POST {\"gifticonId\": \"$GIFTICON\", \"quantity\": 1}" >"$WORK/siege.exec" 2>&1 &
  echo $! >"$WORK/siege.pid"
}

siege_runs() { kill -0 "$(cat "$WORK/siege.pid")" 2>/dev/null; }

# Waits until its time is up, and prints what it says. Fails where siege ended before.
siege_ends() {
  siege_result
  [ "${ELAPSED%.*}" -ge $((SIEGE_SECONDS - 3)) ] || failed "siege ended after $ELAPSED of $SIEGE_SECONDS s"
}

# Ends it before its time is up. Fails where siege has ended by itself.
siege_stops() {
  local ended=''
  siege_runs && interrupt_siege || ended=yes
  siege_result
  [ -z "$ended" ] || failed "siege ended by itself, after $ELAPSED of $SIEGE_SECONDS s"
}

interrupt_siege() {
  # shellcheck disable=SC2016 # it is expanded there
  in_load bash -c 'kill -INT "$(cat /tmp/siege.pid)"' 2>/dev/null
}

# Sets SUCCEEDED and FAILED (requests), AVAILABILITY (per cent) and ELAPSED (seconds). They are counted here: siege takes an
# answer of 4xx for neither a success nor a failure.
siege_result() {
  local pid status=0 answers faults unanswered
  pid=$(cat "$WORK/siege.pid")
  wait "$pid" || status=$?
  rm "$WORK/siege.pid"
  read_siege || failed "what siege said cannot be read"
  tell_failures
  ELAPSED=$(of_siege 'Elapsed time')
  if [ "$status" -ne 0 ] || [ -z "$ELAPSED" ]; then
    tail -n 5 "$WORK/siege.exec"
    failed "siege was killed or cut off (exit $status; its container ended last for: $(load_ended_for)): give its pod more memory, or the nodes less to do"
  fi
  SUCCEEDED=$(sed -n 's/^succeeded: //p' "$WORK/siege.log")
  answers=$(failures | grep -c ' HTTP ' || true) faults=$(failures | grep -c ' HTTP 5' || true)
  # What siege calls failed is answers of 5xx and what got no answer, which has a line each, or should.
  unanswered=$(failures | grep -vc ' HTTP ' || true)
  FAILED=$(($(of_siege 'Failed transactions') - faults))
  [ "$FAILED" -ge "$unanswered" ] || FAILED=$unanswered
  FAILED=$((FAILED + answers))
  AVAILABILITY=$(awk -v good="$SUCCEEDED" -v bad="$FAILED" 'BEGIN { printf "%.2f", good + bad ? int(10000 * good / (good + bad)) / 100 : 0 }')
  say "siege: $SUCCEEDED succeeded, $FAILED failed ($answers of them answered), availability $AVAILABILITY % in $ELAPSED s"
}

load_ended_for() {
  local reason
  reason=$(kubectl -n gifticon-load get pod siege -o jsonpath='{.status.containerStatuses[0].lastState.terminated.reason}')
  echo "${reason:-nothing, it runs}"
}

# Gets what siege left in its pod, but for the requests that succeeded, of which it gets the number.
read_siege() {
  # shellcheck disable=SC2016 # it is expanded there
  in_load bash -c 'cd /tmp && echo "succeeded: $(grep -c " HTTP/1.. 2" siege.requests)"
    grep -v -e " HTTP/1.. 2" -e "^$" siege.requests; cat siege.messages' | sed 's/\x1b\[[0-9;]*m//g' >"$WORK/siege.log"
}

of_siege() { sed -n "s/^\[[0-9: -]*\] $1:[^0-9]*\([0-9.]*\).*/\1/p" "$WORK/siege.log" | tail -n 1; }

# The requests that failed: date, time, and "HTTP STATUS" or what the socket said.
failures() {
  sed -nE -e 's/^\[(..., )?([0-9-]+ [0-9:]+)\] HTTP\/[0-9.]+ ([0-9]+) .*/\2 HTTP \3/p' \
    -e 's/^\[([0-9-]+ [0-9:]+)\] \[error\] (socket: )?(.*)/\1 \3/p' "$WORK/siege.log" | sed -E 's/ sock\.c:[0-9]+:.*//' | sort
}

# How many failed for what and when, and then second by second, 40 lines of that at most.
tell_failures() {
  local kinds
  kinds=$(failures | awk '{ time = $2; $1 = $2 = ""; sub(/^ +/, ""); if (!count[$0]++) first[$0] = time; last[$0] = time }
    END { for (kind in count) printf "  %d x %s, %s to %s\n", count[kind], kind, first[kind], last[kind] }')
  [ -n "$kinds" ] || return 0
  say "failed requests:"
  printf '%s\n' "$kinds"
  failures | cut -d ' ' -f 2- | uniq -c | awk 'NR <= 40 { $1 = $1 " x"; print "    " $2, $1, substr($0, index($0, $3)) } END { if (NR > 40) print "    and so on, " NR " lines" }'
}

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
