# shellcheck shell=bash
# Functions of the drills; sourced, not run. The drills act on the cluster of kubectl, which runs the production overlay. Nobody else
# may add carts meanwhile, because the audit counts them. The nodes must have room for the most replicas of cart that the autoscaler
# allows and one more, because a rollout does not end while a pod cannot be scheduled.
# Needs bash, kubectl, awk, sed and grep here, and the image of siege/Dockerfile in the cluster.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
DRILL=$(basename "$0")
SHOP=http://gateway.gifticon.svc.cluster.local:8080
WORK=$(mktemp -d)
UNITS=100000000 # stock for one drill: more than it sells

say() { printf '%s %s\n' "$(date +%T)" "$*"; }
k() { kubectl -n gifticon "$@"; }
# The Deployments: the services and the gateway. Kafka and Postgres have another label.
mapfile -t DEPLOYMENTS < <(k get deployments -l app.kubernetes.io/part-of=gifticon -o custom-columns=N:.metadata.name --no-headers)
in_load() { kubectl -n gifticon-load exec siege -- "$@"; }
verdict=
passed() { verdict="PASSED $DRILL: $*"; } # printed when everything is restored
failed() { verdict="FAILED $DRILL: $*"; say "$verdict"; exit 1; }

# Restores what the drill changed, on any exit. Drills redefine it.
put_back() { :; }
leave() {
  local status=$? kept
  trap - EXIT
  put_back || { say "the cluster was not restored: apply the overlay again"; status=1; }
  if [ -e "$WORK/siege.pid" ]; then
    interrupt_siege || true
    read_siege && tell_failures || true
  fi
  if [ "$status" -ne 0 ] && [ -e "$WORK/siege.log" ]; then
    kept=${TMPDIR:-/tmp}/gifticon-$DRILL-$(date +%Y%m%d-%H%M%S).log
    cp "$WORK/siege.log" "$kept" && say "the log of siege is kept in $kept"
  fi
  rm -rf "$WORK"
  if [ "$status" -eq 0 ]; then
    say "$verdict"
  elif [[ "$verdict" != FAILED* ]]; then
    say "FAILED $DRILL: the last command failed (exit $status)"
  fi
  exit "$status"
}
trap leave EXIT
trap 'exit 130' INT TERM

until_ok() { # SECONDS COMMAND...: repeats it until it succeeds; fails if it does not in time
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 1
  done
}

without_room() { # prints the number of pods that cannot be scheduled
  k get pods -o jsonpath='{range .items[*]}{.status.conditions[?(@.type=="PodScheduled")].reason}{"\n"}{end}' | grep -c Unschedulable || true
}

rolled_out() { # DEPLOYMENT...
  local one
  for one in "$@"; do k rollout status "deployment/$one" --timeout 180s >/dev/null || return 1; done
}

ask() { # METHOD PATH [BODY]: prints the body of the answer, then a line with status and seconds
  in_load curl -s -m 20 -X "$1" -H 'Content-Type: application/json' ${3:+-d "$3"} -w '\n%{http_code} %{time_total}\n' "$SHOP$2"
}

status_of() { ask "$@" | tail -n 1 | cut -d ' ' -f 1; }

number() { # FIELD PATH: prints a number of an answer
  in_load curl -sf -m 20 "$SHOP$2" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"
}

total() { # COLLECTION: prints the number of its items; fails without an answer
  local count
  count=$(number totalElements "/$1?size=1") && [ -n "$count" ] && echo "$count"
}

# Checks that the shop is up, and registers a gifticon, whose id is GIFTICON.
begin() {
  [ "${#DEPLOYMENTS[@]}" -gt 0 ] && k get hpa cart >/dev/null || failed "the production overlay is not applied: kubectl apply -k kubernetes/overlays/production"
  [ "$(k get service gateway -o 'jsonpath={.spec.ports[0].name}')" = http ] ||
    failed "the gateway takes HTTPS alone, and drills speak HTTP: apply the production overlay without the component tls"
  kubectl apply -f "$HERE/siege.yaml" >/dev/null 2>&1 || { # a pod of another version cannot be patched
    kubectl -n gifticon-load delete pod siege --ignore-not-found >/dev/null
    kubectl apply -f "$HERE/siege.yaml" >/dev/null
  }
  kubectl -n gifticon-load wait --for=condition=Ready pod/siege --timeout 60s >/dev/null || failed "the pod siege does not start"
  rolled_out "${DEPLOYMENTS[@]}" || failed "the shop is not up: kubectl -n gifticon get pods; $(without_room) pods cannot be scheduled. If they are of cart, the autoscaler allows too many"
  GIFTICON=$(date +%s)
  case $(status_of POST /gifticons "{\"gifticonId\":\"$GIFTICON\",\"name\":\"Americano\",\"availableQuantity\":\"$UNITS\",\"price\":\"5000\"}") in
    201) ;;
    401) failed "the shop asks for accounts, and drills have none: apply the production overlay without the component issuer" ;;
    *) failed "gifticon $GIFTICON cannot be registered" ;;
  esac
  CARTS=$(total carts)
  PAYMENTS=$(total payments)
  VIEWS=$(total mypages)
  say "gifticon $GIFTICON is registered; there are $CARTS carts"
}

add_cart() { status_of POST /carts "{\"gifticonId\":\"$GIFTICON\",\"quantity\":\"1\"}"; }

# Runs in the pod. siege writes a line with time and status for each request, and messages and a result, to which this adds the time.
# All of it stays in the pod's /tmp until read_siege reads it. siege gives up after 1,024 failures by default, and sometimes does
# not end after its time: the first argument says after how many seconds it is killed.
# shellcheck disable=SC2016 # it is expanded there
SIEGE='
printf "%s\n" "verbose = true" "timestamp = true" "color = off" "json_output = false" "show-logfile = false" "logging = false" \
  "parser = false" "connection = close" "failures = 1000000000" >/tmp/siegerc
rm -f /tmp/siege.*
limit=$1
shift
{
  (echo "$BASHPID" >/tmp/siege.pid && exec timeout -k 10 "$limit" siege -R /tmp/siegerc "$@" 2>&1 >/tmp/siege.requests)
  echo "$?" >/tmp/siege.status
} | while IFS= read -r line; do printf "[%(%F %T)T] %s\n" -1 "$line"; done >/tmp/siege.messages
exit "$(cat /tmp/siege.status)"
'

# Starts siege on POST /carts in the background. Call siege_ends or siege_stops after it.
siege_begins() { # CUSTOMERS SECONDS [PAUSE]: each customer waits for up to PAUSE seconds between carts
  say "siege -c$1 -t$2S${3:+ -d$3} on POST /carts"
  SIEGE_SECONDS=$2
  in_load bash -c "$SIEGE" siege "$(($2 + 60))" "-c$1" "-t$2S" ${3:+"-d$3"} --content-type application/json \
    "$SHOP/carts POST {\"gifticonId\": \"$GIFTICON\", \"quantity\": 1}" >"$WORK/siege.exec" 2>&1 &
  echo $! >"$WORK/siege.pid"
}

siege_runs() { kill -0 "$(cat "$WORK/siege.pid")" 2>/dev/null; }

# Waits until siege ends, and prints its result. Fails if siege ends before its time.
siege_ends() {
  siege_result
  [ "${ELAPSED%.*}" -ge $((SIEGE_SECONDS - 3)) ] || failed "siege ended after $ELAPSED of $SIEGE_SECONDS s"
}

# Ends siege before its time, and prints its result. Fails if siege has ended by itself.
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

# Sets SUCCEEDED and FAILED (requests), AVAILABILITY (percent) and ELAPSED (seconds). They are counted here, because siege counts
# an answer with 4xx neither as a success nor as a failure.
siege_result() {
  local pid status=0 answers faults unanswered
  pid=$(cat "$WORK/siege.pid")
  wait "$pid" || status=$?
  rm "$WORK/siege.pid"
  read_siege || failed "the output of siege cannot be read"
  tell_failures
  ELAPSED=$(of_siege 'Elapsed time')
  if [ "$status" -ne 0 ] || [ -z "$ELAPSED" ]; then
    tail -n 5 "$WORK/siege.exec"
    failed "siege was killed or cut off (exit $status; its container ended last for: $(load_ended_for)): give its pod more memory, or the nodes less to do"
  fi
  SUCCEEDED=$(sed -n 's/^succeeded: //p' "$WORK/siege.log")
  answers=$(failures | grep -c ' HTTP ' || true) faults=$(failures | grep -c ' HTTP 5' || true)
  # siege counts answers with 5xx and requests without an answer as failed. Each should have a line.
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

# Reads the output of siege from its pod: the number of requests that succeeded, and all other lines.
read_siege() {
  # shellcheck disable=SC2016 # it is expanded there
  in_load bash -c 'cd /tmp && echo "succeeded: $(grep -c " HTTP/1.. 2" siege.requests)"
    grep -v -e " HTTP/1.. 2" -e "^$" siege.requests; cat siege.messages' | sed 's/\x1b\[[0-9;]*m//g' >"$WORK/siege.log"
}

of_siege() { sed -n "s/^\[[0-9: -]*\] $1:[^0-9]*\([0-9.]*\).*/\1/p" "$WORK/siege.log" | tail -n 1; }

# Prints the failed requests: date, time, and "HTTP STATUS" or the error of the socket.
failures() {
  sed -nE -e 's/^\[(..., )?([0-9-]+ [0-9:]+)\] HTTP\/[0-9.]+ ([0-9]+) .*/\2 HTTP \3/p' \
    -e 's/^\[([0-9-]+ [0-9:]+)\] \[error\] (socket: )?(.*)/\1 \3/p' "$WORK/siege.log" | sed -E 's/ sock\.c:[0-9]+:.*//' | sort
}

# Prints how many requests failed for which reason and when, and up to 40 lines of failures by second.
tell_failures() {
  local kinds
  kinds=$(failures | awk '{ time = $2; $1 = $2 = ""; sub(/^ +/, ""); if (!count[$0]++) first[$0] = time; last[$0] = time }
    END { for (kind in count) printf "  %d x %s, %s to %s\n", count[kind], kind, first[kind], last[kind] }')
  [ -n "$kinds" ] || return 0
  say "failed requests:"
  printf '%s\n' "$kinds"
  failures | cut -d ' ' -f 2- | uniq -c | awk 'NR <= 40 { $1 = $1 " x"; print "    " $2, $1, substr($0, index($0, $3)) } END { if (NR > 40) print "    and so on, " NR " lines" }'
}

# Checks that every cart of the drill has its payment and its view, and that the stock is conserved: registered = left + in carts.
# Waits for up to SECONDS until all payments and views are there.
audit() { # SECONDS
  local added left
  until_ok "$1" settled || failed "$(total carts) carts, $(total payments) payments and $(total mypages) views, of which $CARTS, $PAYMENTS and $VIEWS were there before"
  added=$(($(total carts) - CARTS))
  left=$(number availableQuantity "/gifticons/search/findByGifticonId?gifticonId=$GIFTICON")
  [ $((left + added)) -eq "$UNITS" ] || failed "$UNITS units were registered: $left are left and $added are in carts"
  # Every cart that was answered is there. There may be more, whose answers were lost.
  [ "$added" -ge "${SUCCEEDED:-0}" ] || failed "$SUCCEEDED carts were answered, and $added are there"
  say "audit: $added carts added, each with its payment and its view; $left of $UNITS units left"
}

settled() {
  local carts payments views
  carts=$(total carts) && payments=$(total payments) && views=$(total mypages) || return 1
  [ $((payments - PAYMENTS)) -eq $((carts - CARTS)) ] && [ $((views - VIEWS)) -eq $((carts - CARTS)) ]
}
