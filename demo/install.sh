#!/bin/sh
# Install what a make target needs: system packages (as root, on Debian), a virtual environment, sipguard.
#   install.sh PYTHON VENV "PACKAGES"            everything
#   install.sh --packages [--optional] "PACKAGES"  system packages alone
set -eu

as_root() { [ "$(id -u)" = 0 ]; }

missing_of() {
    for package in $1; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$package"
    done
}

# Programs are wanted here, not services that begin to listen because a test needs the program.
start_nothing() {
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] && return 0
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

packages() {
    command -v dpkg-query >/dev/null 2>&1 || { echo "not Debian: install these yourself: $1" >&2; return 0; }
    missing=$(missing_of "$1")
    [ -n "$missing" ] || return 0
    if ! as_root; then
        echo "not root: these system packages are left out: $missing" >&2
        return 0
    fi
    echo "installing system packages: $missing"
    export DEBIAN_FRONTEND=noninteractive
    start_nothing
    lock="-o DPkg::Lock::Timeout=300"
    # shellcheck disable=SC2086
    apt-get $lock install -q -y --no-install-recommends $missing >/dev/null 2>&1 || {
        apt-get $lock update -q >/dev/null
        apt-get $lock install -q -y --no-install-recommends $missing >/dev/null
    }
}

if [ "$1" = --packages ]; then
    if [ "$2" = --optional ]; then
        packages "$3" || echo "left out (not to be had here): $3" >&2
    else
        packages "$2"
    fi
    exit 0
fi

python=$1 venv=$2
packages "$3"
echo "making the virtual environment $venv"
"$python" -m venv "$venv"
if [ -e /usr/include/libnetfilter_queue/libnetfilter_queue.h ]; then
    extras=gateway,dev
else
    extras=dev
    echo "libnetfilter-queue headers are missing: installing without the live gateway" >&2
fi
"$venv/bin/pip" install -q --disable-pip-version-check -e ".[$extras]"
