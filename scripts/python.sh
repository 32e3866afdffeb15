# Sourced by the scripts: finding Python, making virtual environments, installing into them.

# For slow package indexes, and those that fail for a moment.
export PIP_TIMEOUT="${PIP_TIMEOUT:-60}" PIP_RETRIES="${PIP_RETRIES:-10}"

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "No Python 3.11 or newer with venv was found (on Debian: apt-get install python3-venv); set PYTHON." >&2
    return 1
}

# A virtual environment with a pip that knows dependency groups; one that is there already is used again.
make_venv() {
    local python
    if ! "$1/bin/python" -c pass 2>/dev/null; then
        python=$(find_python)
        rm -rf "$1"
        "$python" -m venv "$1"
    fi
    if ! "$1/bin/pip" --version 2>/dev/null | grep -qE '^pip (2[6-9]|25\.[1-9])'; then
        "$1/bin/pip" install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
    fi
}

# install VENV ARGUMENTS…: quiet unless it fails.
install() {
    local venv=$1 log
    shift
    log=$(mktemp)
    if ! "$venv/bin/pip" install --disable-pip-version-check --no-input "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}
