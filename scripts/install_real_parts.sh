#!/usr/bin/env bash
# Install what `make check-real` needs and pip cannot give: one function a part, each a no-op where the part is there.
#   scripts/install_real_parts.sh [PART]...        without a part: all of them
# On Debian and Ubuntu as root the parts come from apt. Otherwise it says what is missing and how to get it: the tests of
# a missing part are skipped on your machine, and fail where CI is set.
set -euo pipefail
cd "$(dirname "$0")/.."

PARTS=(browser postgres redis azurite)

has() { command -v "$1" >/dev/null 2>&1; }

# from_apt WHAT PACKAGE...: install packages, or say who can.
from_apt() {
  local what=$1
  shift
  if ! has apt-get; then
    echo "$what is missing, and there is no apt-get here: install it by your system's own means (Debian calls it: $*)" >&2
    return 1
  fi
  if [ "$(id -u)" != 0 ]; then
    echo "$what is missing: sudo apt-get install -y --no-install-recommends $*" >&2
    return 1
  fi
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# The browser that the page is tested with, and fonts for its pictures.
browser() {
  has chromium && has fc-list && fc-list | grep -qi -e dejavu -e liberation && return 0
  from_apt "a browser" chromium fontconfig fonts-dejavu-core fonts-liberation
}

# Dagster's storage in production. Its service is of no use here: the tests run a cluster of their own.
postgres() {
  has pg_ctl || compgen -G "/usr/lib/postgresql/*/bin/pg_ctl" >/dev/null && return 0
  from_apt "Postgres" postgresql
}

# The broker of Celery's workers.
redis() {
  has redis-server && return 0
  from_apt "Redis" redis-server
}

# An Azure blob server, by npm, into a folder of the project that git ignores.
azurite() {
  [ -f .real_parts/azurite/node_modules/azurite/dist/src/blob/main.js ] && return 0
  has npm || from_apt "npm, for the Azure server" nodejs npm || return 1
  mkdir -p .real_parts/azurite
  npm install --silent --no-audit --no-fund --prefix .real_parts/azurite azurite@3
}

missing=0
for part in "${@:-${PARTS[@]}}"; do
  if ! declare -F "$part" >/dev/null; then
    echo "there is no part '$part'; there are: ${PARTS[*]}" >&2
    exit 2
  fi
  "$part" || missing=1
done
# Where CI is set a missing part must not pass for a test that was skipped on purpose.
[ -z "${CI:-}" ] || exit $missing
