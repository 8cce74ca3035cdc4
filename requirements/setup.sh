#!/bin/bash
# Make this checkout able to run: a virtual environment with the pinned requirements, and Debian packages.
#
#   requirements/setup.sh venv              .venv, as requirements/*.txt pin it (hashes checked)
#   requirements/setup.sh debian GROUP ...  the packages requirements/debian.txt lists for these groups
#
# Safe to run again and from two terminals at once: each step holds a lock and does nothing when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

python_for_venv() { # Debian's own first: an ordinary user can run it, and it is the fastest build at hand
    local candidate
    for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "no Python 3.11 or newer with the venv module was found: sudo apt-get install python3 python3-venv"
    exit 1
}

make_venv() {
    local wanted stamp=.venv/.requirements
    wanted=$(cat requirements/runtime.txt requirements/test.txt pyproject.toml | sha256sum | cut -d' ' -f1)
    exec 9>.venv.lock
    flock 9
    if [ "$(cat $stamp 2>/dev/null)" = "$wanted" ]; then return; fi
    [ -x .venv/bin/python ] || "$(python_for_venv)" -m venv .venv
    say "installing the pinned requirements into .venv (once)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
        -r requirements/runtime.txt -r requirements/test.txt
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    echo "$wanted" >$stamp
}

install_debian() {
    local group packages="" missing="" package python
    python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo 3.11)
    for group in "$@"; do
        packages+=" $(sed -n "s/^$group: //p" requirements/debian.txt)"
    done
    for package in ${packages//X.Y/$python}; do
        if [[ $package == *@* && -e ${package#*@} ]]; then continue; fi
        package=${package%%@*}
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=" $package"
    done
    if [ -z "$missing" ]; then return; fi
    if [ "$(id -u)" != 0 ]; then
        say "these Debian packages are missing:$missing"
        say "run: sudo apt-get update && sudo apt-get install --no-install-recommends$missing"
        exit 1
    fi
    exec 8>/run/lock/aegis-setup.lock
    flock 8
    say "installing Debian packages:$missing"
    # No service may start by itself: the tests start their own, in places of their own.
    local policy=/usr/sbin/policy-rc.d ours=""
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        ours=yes
    fi
    local done=0
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } \
        >/tmp/aegis-setup.$$.log 2>&1 || done=$?
    [ -z "$ours" ] || rm -f $policy
    if [ $done != 0 ]; then
        tail -20 /tmp/aegis-setup.$$.log >&2
        say "apt-get failed (above)"
        exit 1
    fi
    rm -f /tmp/aegis-setup.$$.log
}

case "${1:-}" in
venv)
    # python3-venv is a package of its own on Debian
    if [ ! -x .venv/bin/python ] && ! /usr/bin/python3 -c 'import venv, ensurepip' 2>/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        install_debian venv
    fi
    make_venv
    ;;
debian)
    shift
    install_debian "$@"
    ;;
*)
    sed -n '2,7s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
