# Sourced by the scripts here: named steps with their durations, and what must be installed.

say() { printf '\n==> %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# step NAME COMMAND...: runs the command, and says how long it took.
step() {
  local name=$1 begun=$SECONDS; shift
  say "$name"
  "$@" || fail "$name failed after $((SECONDS - begun)) s"
  printf '    %s: %d s\n' "$name" $((SECONDS - begun))
}

# Servers and services run natively on Linux alone: with bash 4, setsid, ss, timeout and /proc.
require_linux() {
  [[ $(uname) == Linux ]] ||
    fail "$0 runs natively on Linux only: elsewhere use Docker, scripts/up --docker starts the system"
}

require_toolchain() {
  command -v cargo >/dev/null || fail "cargo is missing: install the Rust toolchain from https://rustup.rs"
}

# Installs the Debian or Ubuntu packages that the native stack lacks.
require_packages() {
  local missing=()
  command -v cc >/dev/null || missing+=(gcc libc6-dev)
  command -v curl >/dev/null || missing+=(curl)
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || command -v postgres >/dev/null || missing+=(postgresql)
  [[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || command -v rabbitmq-server >/dev/null || missing+=(rabbitmq-server)
  ((${#missing[@]})) || return 0

  local hint="install what is missing first: ${missing[*]}"
  command -v apt-get >/dev/null || fail "$hint"
  if [[ $(id -u) == 0 ]]; then
    step "installing ${missing[*]}" install_packages "${missing[@]}"
  elif command -v sudo >/dev/null; then
    step "installing ${missing[*]} (with sudo)" sudo bash -c "$(declare -f install_packages); install_packages ${missing[*]}"
  else
    fail "$hint (as root: apt-get install ${missing[*]})"
  fi
}

# As root. Debian's packages start a database and a broker on the standard ports when they are installed,
# and at every boot: neither is wanted here.
install_packages() (
  set -euo pipefail
  policy=/usr/sbin/policy-rc.d
  cluster=/etc/postgresql-common/createcluster.d/no-main-cluster.conf
  before=$(mktemp -d)
  [[ ! -e $policy ]] || cp -a "$policy" "$before/policy"
  restore() {
    rm -f "$policy" "$cluster"
    [[ ! -e $before/policy ]] || cp -a "$before/policy" "$policy"
    rm -rf "$before"
  }
  trap restore EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  mkdir -p "$(dirname "$cluster")"
  echo 'create_main_cluster = false' >"$cluster"

  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends "$@" >/dev/null
  if [[ -d /run/systemd/system && " $* " == *" rabbitmq-server "* ]]; then
    systemctl disable --quiet rabbitmq-server epmd.socket || true
  fi
)
