# Shared by the scripts in dev/ (source it, do not run it): builds, free ports, servers that are always ended.
# Every wait here has a bound, and shows the end of the log when the bound is reached.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
release_dir=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)/release

# Processes this script has started, by id. Only these are ever ended.
started_pids=()
# Directories this script has made.
made_dirs=()

say() { printf '%s\n' "$*"; }
fail() { printf 'failed: %s\n' "$*" >&2; exit 1; }

show_log() { # FILE: the last lines of a log, set off from our own output
  [ -f "$1" ] || return 0
  printf -- '--- the last lines of %s\n' "${1##*/}" >&2
  tail -n 40 "$1" >&2 || true
  printf -- '---\n' >&2
}

# Ends a process that this script started: asks, waits 10 s, then insists.
end_process() { # PID
  kill "$1" 2>/dev/null || true
  local tick
  for ((tick = 0; tick < 100; tick++)); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.1
  done
  kill -9 "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

clean_up() {
  local status=$? pid dir
  trap - EXIT
  for pid in "${started_pids[@]:+${started_pids[@]}}"; do
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && end_process "$pid"
  done
  for dir in "${made_dirs[@]:+${made_dirs[@]}}"; do
    [ -n "$dir" ] && rm -rf -- "$dir"
  done
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Makes a directory that goes away with this script; its name is in `made`. With the second argument `disk` it lies
# beside the build: what is measured or killed there needs a real disk, and the system's temporary directory may be memory.
make_dir() { # NAME [disk]
  local parent=${TMPDIR:-/tmp}
  [ "${2:-}" != disk ] || parent=${release_dir%/*}
  made=$(mktemp -d "$parent/boxoffice-$1.XXXXXX")
  made_dirs+=("$made")
}

# One release build of all three binaries, always with the same list, so that nothing is built twice.
build_release() {
  timeout -k 10 2400 cargo build --release --locked -p boxoffice -p boxoffice-sim -p boxoffice-load
}

# Picks a port that nobody listens on, below the range from which outgoing connections take theirs; it is in `port`.
pick_port() {
  local attempt
  for ((attempt = 0; attempt < 50; attempt++)); do
    port=$((20000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
  done
  fail "no free port in fifty attempts"
}

# Starts the release binary on `port` with all its data in DATA_DIR, and waits until it is ready. Its id is in
# `server_pid`, its log in DATA_DIR/server.log, its address in `base_url`. Further arguments are settings, NAME=value.
start_server() { # DATA_DIR [NAME=value…]
  local data_dir=$1
  shift
  [ -n "${port:-}" ] || pick_port
  base_url=http://127.0.0.1:$port
  # Its working directory is DATA_DIR: whatever it keeps beside the store stays out of the checkout too.
  (
    cd "$data_dir"
    exec env BOXOFFICE_HTTP__LISTEN="127.0.0.1:$port" BOXOFFICE_STORE__URL="sqlite://$data_dir/boxoffice.db" "$@" \
      "$release_dir/boxoffice" serve
  ) >>"$data_dir/server.log" 2>&1 &
  server_pid=$!
  started_pids+=("$server_pid")
  wait_ready "$base_url" "$server_pid" "$data_dir/server.log"
}

# Waits until a server answers `/readyz` with 200: at most 30 s.
wait_ready() { # BASE_URL PID LOG
  local deadline=$((SECONDS + 30))
  while [ "$SECONDS" -lt "$deadline" ]; do
    if ! kill -0 "$2" 2>/dev/null; then
      show_log "$3"
      fail "the server ended before it was ready"
    fi
    if curl -fs -m 5 -o /dev/null "$1/readyz" 2>/dev/null; then
      return 0
    fi
    sleep 0.01
  done
  show_log "$3"
  fail "the server was not ready after 30 s"
}

# Waits for a process that this script started, at most SECONDS; its exit status is ours. Past the bound it is ended.
wait_bounded() { # PID SECONDS LOG
  local tick status=0
  for ((tick = 0; tick < $2 * 5; tick++)); do
    if ! kill -0 "$1" 2>/dev/null; then
      wait "$1" || status=$?
      return "$status"
    fi
    sleep 0.2
  done
  show_log "$3"
  end_process "$1"
  fail "process $1 had not ended after $2 s"
}

# What every load run sets on its server: an operator whose password the load knows, no demo, and cheap password hashes,
# since a crowd of made-up fans is to be measured at buying and not at logging in.
load_operator=operator@example.org:only-for-load-runs-2026
load_server_settings=(
  BOXOFFICE_OPERATOR__EMAIL="${load_operator%%:*}"
  BOXOFFICE_OPERATOR__PASSWORD="${load_operator#*:}"
  BOXOFFICE_AUTH__PASSWORD_MEMORY_KIB=64
  BOXOFFICE_AUTH__PASSWORD_PASSES=1
  BOXOFFICE_DEMO=false
)

# Starts boxoffice-load against the server at `base_url`; its id is in `load_pid`, and its exit status is its verdict.
# Its progress is in LOG, its report in LOG.report.
start_load() { # LOG SCENARIO [FLAG…]
  local log=$1 scenario=$2
  shift 2
  : >"$log"
  "$release_dir/boxoffice-load" "$scenario" --url "$base_url" --operator "$load_operator" "$@" >"$log.report" 2>"$log" &
  load_pid=$!
  started_pids+=("$load_pid")
}

# Waits until the load has made its accounts and its sale, and the flows begin: at most 300 s.
wait_on_sale() { # LOG
  local deadline=$((SECONDS + 300))
  while ! grep -q 'on sale' "$1"; do
    kill -0 "$load_pid" 2>/dev/null || { show_log "$1"; fail "the load ended before its sale began"; }
    [ "$SECONDS" -lt "$deadline" ] || { show_log "$1"; fail "the load had made no sale after 300 s"; }
    sleep 0.1
  done
}
