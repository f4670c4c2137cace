# shellcheck shell=bash
# Words and small helpers shared by the scripts beside this file. Sourced, never run.

say()  { printf '%s\n' "$*"; }
head1() { printf '\n== %s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die()  { warn "$1"; exit "${2:-1}"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Seconds since the script began, whole.
elapsed() { printf '%s' "$SECONDS"; }

# Prefix for commands that need root: nothing as root, sudo where it asks for no password.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif have sudo && sudo -n true 2>/dev/null; then sudo "$@"
  else return 126
  fi
}

can_be_root() { [ "$(id -u)" -eq 0 ] || { have sudo && sudo -n true 2>/dev/null; }; }

# Free space in MiB of the file system that holds $1.
free_mib() { df -Pm "$1" | awk 'NR==2 {print $4}'; }

# Rust may sit in the home directory without being on the PATH of a non-login shell.
if ! have cargo && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
  PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  export PATH
fi
