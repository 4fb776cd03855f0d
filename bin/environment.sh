# Sourced by the programs of this folder: makes the project's own virtual environment and keeps it up to date.
#
#   project_root SCRIPT        sets $root to the project's root, wherever SCRIPT was called from, through symlinks too
#   ensure_environment NAME    makes $root/.venv ready for NAME, "run" or "test", and sets $python
#
# A stamp inside .venv holds the hash of setup.cfg and pyproject.toml and the project's place. While it is right, two
# short commands are all that happens. Otherwise the set-up runs, under a lock, with its messages on standard error.

project_root() {
    local script=$1
    if [[ -L $script ]]; then script=$(readlink -f -- "$script"); fi
    root=$(cd -- "$(dirname -- "$script")/.." && pwd -P)
}

ensure_environment() {
    local purpose=$1 wanted
    python=$root/.venv/bin/python
    wanted=$(cd -- "$root" && sha256sum setup.cfg pyproject.toml && pwd -P)
    if is_ready "$purpose" "$wanted"; then return 0; fi
    (
        exec 9>"$root/.venv.lock" || exit 1
        flock 9
        # another process may have done it while we waited
        if is_ready "$purpose" "$wanted"; then exit 0; fi
        cd -- "$root" && set_up "$purpose" && printf '%s\n' "$wanted" >".venv/stamp-$purpose"
    ) 1>&2 || {
        echo "entrance: the environment in $root/.venv could not be set up" >&2
        exit 1
    }
}

is_ready() {
    [[ -x $python && -r $root/.venv/stamp-$1 && $(<"$root/.venv/stamp-$1") == "$2" ]] && has_its_python
}

# Whether the environment's Python is the one that it was made with: /usr/bin/python3 is another after an upgrade of the system.
has_its_python() {
    local key value
    while IFS=' =' read -r key value; do
        if [[ $key == executable ]]; then [[ $python -ef $value ]]; return; fi
    done <"$root/.venv/pyvenv.cfg"
}

may_install_packages() {
    [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null
}

install_packages() {
    echo "entrance: installing Debian packages: $*" >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >/dev/null 2>&1 ||
        { apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >/dev/null; } >&2
}

# Prints the Python to make the environment with: the first one that is new enough, and, with "venv", can make environments.
# The system's own comes first: distributions build it with profile-guided optimization, which those that version managers
# compile on the spot mostly lack (their interpreter loop takes half as long again). ENTRANCE_PYTHON names another.
find_python() {
    local candidate check="import sys; print(sys.version_info >= (3, 11))"
    if [[ ${1-} == venv ]]; then check="import venv, ensurepip; ensurepip.version(); $check"; fi
    for candidate in ${ENTRANCE_PYTHON:-/usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11}; do
        if [[ $("$candidate" -c "$check" 2>/dev/null) == True ]]; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

set_up() {
    local purpose=$1 base best
    if ! has_its_python 2>/dev/null || ! "$python" -m pip --version >/dev/null 2>&1; then
        best=$(find_python) || true
        # no package makes a Python of what ENTRANCE_PYTHON names and is none
        if [[ -z $best && -z ${ENTRANCE_PYTHON-} || -n $best && $best != "$(find_python venv)" ]] && may_install_packages; then
            install_packages python3 python3-venv || true # another Python may do
        fi
        if ! base=$(find_python venv); then
            if [[ -n $best ]]; then
                echo "entrance: $best cannot make virtual environments; install the Debian package python3-venv"
            elif [[ -n ${ENTRANCE_PYTHON-} ]]; then
                echo "entrance: ENTRANCE_PYTHON=$ENTRANCE_PYTHON is no Python 3.11 or newer"
            else
                echo "entrance: Python 3.11 or newer is needed (Debian packages python3 and python3-venv)"
            fi
            return 1
        fi
        echo "entrance: making a virtual environment in $root/.venv ..."
        "$base" -m venv --clear .venv || return 1
    fi
    echo "entrance: installing the project into $root/.venv ..."
    rm -f .venv/stamp-*
    local pip=("$python" -m pip install -q --disable-pip-version-check --no-input) extras=fast
    if [[ $purpose == test ]]; then extras=fast,test; fi
    # without a ready-made compiler package the project still works, only slower
    "${pip[@]}" --only-binary=llvmlite -e ".[$extras]" 2>.venv/install.log && { compile_ahead; stamp_run "$purpose"; return 0; }
    echo "entrance: the extra \"fast\" could not be installed here (.venv/install.log says why); going on without it"
    if [[ $purpose == test ]]; then "${pip[@]}" -e ".[test]" || return 1; else "${pip[@]}" -e . || return 1; fi
    compile_ahead
    stamp_run "$purpose"
}

# So that no start need: the modules, as pip does for those that it copies, and the hashing of packs in machine code.
compile_ahead() {
    "$python" -m compileall -q -j 0 common entrance executors >/dev/null 2>&1 || true
    "$python" -P -m common.content.kernel --installation >/dev/null 2>>.venv/install.log || true
}

# An environment that is ready for the tests is ready to run.
stamp_run() {
    if [[ $1 == test ]]; then (cd -- "$root" && sha256sum setup.cfg pyproject.toml && pwd -P) >.venv/stamp-run; fi
}
