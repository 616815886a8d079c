#!/bin/sh
# Make virtual environments for the Makefile and install into them.
#
#     infra/virtualenv.sh install VENV PYTHON REQUIREMENTS [OPTION...]    install hash-pinned requirements into VENV
#     infra/virtualenv.sh works VENV [PYTHON]                             succeed if VENV works and has PYTHON's version
#     infra/virtualenv.sh find                                            print the first Python on the PATH that will do
#
# `install` first makes VENV if it does not work, or makes it again if an earlier run was interrupted: pip cannot tell a
# half-written package from a complete one. It checks PYTHON before it makes anything. The variable ASKED is PYTHON if
# the user has set it, and empty otherwise: if it is set, a VENV of another version is made again. One `install` waits
# for another, of a second `make` or of `make -j`: each would remove what the other writes.
set -eu

# Those that all packages have wheels for.
PYTHONS="3.11 to 3.14"
WILL_DO='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))'

say() { echo "onnx-ledger: $*" >&2; }

# Succeed if the environment has pip and a Python that we support, of the same version as the second argument's.
works() {
  "$1/bin/python" -c "import pip; $WILL_DO" 2>/dev/null || return
  [ -z "${2:-}" ] || [ "$(version "$2")" = "$(version "$1/bin/python")" ]
}

version() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }

find_python() {
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c "$WILL_DO" 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

look_at() {
  if [ -z "$1" ]; then
    say "there is no Python $PYTHONS here: install one, or set PYTHON to its path"
  elif ! found=$(version "$1"); then
    say "PYTHON=$1 does not run: set PYTHON to a Python $PYTHONS"
  elif ! "$1" -c "$WILL_DO"; then
    say "PYTHON=$1 is Python $found: it must be $PYTHONS"
  elif ! "$1" -c 'import ensurepip, venv' 2>/dev/null; then
    say "PYTHON=$1 comes without venv or ensurepip: Debian and Ubuntu have them in python${found%.*}-venv"
  else
    return 0
  fi
  return 1
}

# Lock this file, until this script and all that it has started end, by the first of the interpreters that runs. There is
# no command for it on macOS. Where the file system has no locks, nothing waits.
lock() {
  exec 9<"$0"
  for interpreter in "$@"; do
    "$interpreter" -c '' 2>/dev/null || continue
    "$interpreter" -c 'import errno, fcntl, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except EnvironmentError as error:
    if error.errno == errno.EWOULDBLOCK:
        sys.stderr.write("onnx-ledger: waiting until another make has installed what it needs\n")
        fcntl.flock(9, fcntl.LOCK_EX)'
    break
  done
}

install() {
  venv=$1 python=$2 requirements=$3 unfinished=$1/unfinished
  shift 3
  lock "$python" "$venv/bin/python"
  if [ -e "$unfinished" ] || ! works "$venv" "${ASKED:-}"; then
    look_at "$python"
    echo "making a virtual environment in $venv ($python)" >&2
    rm -f "$venv/bin/python" # first: what is left of an interrupted rm does not work, whatever that is
    rm -rf "$venv"
    mkdir "$venv"
    : >"$unfinished"
    "$python" -m venv "$venv"
  fi
  : >"$unfinished"
  echo "installing $requirements" >&2 # the output belongs to the command that needs them
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" --require-hashes -r "$requirements"
  rm "$unfinished"
}

case $1 in
  works) works "$2" "${3:-}" ;;
  find) find_python ;;
  install) shift && install "$@" ;;
esac
