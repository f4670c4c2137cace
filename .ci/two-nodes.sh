# shellcheck shell=bash
# Two nodes with forwards, as rooms of scripts have them: sourced after .ci/lib.sh, with a directory $work of its own.
# shellcheck disable=SC2034,SC2154,SC2317  # $work, $status and $bin are the room's; most functions are called by name

children=()

# check NAME COMMAND…: passes when the command does.
check() {
  local name=$1; shift
  if "$@" >"$work/said" 2>&1; then printf 'ok - %s\n' "$name"
  else printf 'not ok - %s\n' "$name"; tail -n 40 "$work/said" | sed 's/^/# /'; status=1; fi
}
skip() { printf 'ok - %s # SKIP %s\n' "$1" "$2"; }

### Servers: started by pid, ended by pid. ####################################################################

# start LOG COMMAND…: in the directory $work, by which the last check finds what is left.
start() {
  local log=$1; shift
  (cd "$work" && exec "$@") >"$work/$log" 2>&1 </dev/null &
  children+=($!)
}

stop_children() {
  [ ${#children[@]} -gt 0 ] || return 0
  # SIGINT is what postgres takes for a fast end, and the others for an end.
  kill -INT "${children[@]}" 2>/dev/null
  for _ in $(seq 100); do
    kill -0 "${children[@]}" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "${children[@]}" 2>/dev/null
  wait "${children[@]}" 2>/dev/null
  children=()
}
trap 'stop_children; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# until_true SECONDS COMMAND…
until_true() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "not within its time: $*"; tail -n 5 "$work"/*.log; return 1; }
    sleep 0.05
  done
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# A port nobody listens on, below those that the kernel gives to clients.
free_port() {
  local port
  while port=$((20000 + RANDOM % 12000)); listens "$port"; do :; done
  printf '%s' "$port"
}

### Two nodes with forwards. ##################################################################################

ctl() { "$bin/dwcp-ctl" "${@:2}" --runtime-dir "$work/sockets" --timeout 30s --node "$1"; }
state() { ctl "$1" status -o json | jq -er ".nodes[0] | $2"; }

# write_config NODE; what only one node has comes on standard input.
write_config() {
  {
    printf 'mode: internet\nnodeId: %s\nlisten: ["127.0.0.1:0"]\nadmin: {listen: ["127.0.0.1:0"]}\n' "$1"
    printf 'keys: {cert: keys/%s/node.crt, key: keys/%s/node.key, ca: keys/%s/ca.crt}\n' "$1" "$1" "$1"
    cat
  } >"$work/$1.yaml"
}

build() {
  bin=${DWCP_ROOM_BIN:-$PWD/target/debug}
  [ -n "${DWCP_ROOM_BIN:-}" ] && return
  # Exactly as the tests of dwcp-ctl have them built: nothing is built twice.
  cargo test --locked --all-features -p dwcp-ctl --test traffic --no-run
}

# The port of the forward named $1.
forward() { state west ".forwards[] | select(.name == \"$1\") | .listen" | sed 's/.*://'; }

# Nothing that began in $work is there any more.
left() {
  local found=""
  for cwd in /proc/[0-9]*/cwd; do
    case "$(readlink "$cwd" 2>/dev/null)" in "$work"*) found+=" ${cwd//[^0-9]/}" ;; esac
  done
  [ -z "$found" ] || { echo "left running:$found"; return 1; }
}
