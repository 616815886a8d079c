#!/bin/sh
# Make virtual environments for the Makefile and install into them.
#
#     infra/virtualenv.sh install VENV PYTHON REQUIREMENTS [OPTION...]    install hash-pinned requirements into VENV
#     infra/virtualenv.sh works VENV [PYTHON]                             succeed if VENV works and has PYTHON's version
#
# `install` first makes VENV if it does not work, or makes it again if an earlier run was interrupted: pip cannot tell a
# half-written package from a complete one. It checks PYTHON before it makes anything. The variable ASKED is PYTHON if
# the user has set it, and empty otherwise: if it is set, a VENV of another version is made again.
set -eu

say() { echo "onnx-ledger: $*" >&2; }

# Succeed if the environment has pip and a Python that we support, of the same version as the second argument's.
works() {
  "$1/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || return
  [ -z "${2:-}" ] || [ "$(version "$2")" = "$(version "$1/bin/python")" ]
}

version() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }

look_at() {
  if [ -z "$1" ]; then
    say "there is no Python 3.11 or newer here: install one, or set PYTHON to its path"
  elif ! found=$(version "$1"); then
    say "PYTHON=$1 does not run: set PYTHON to a Python 3.11 or newer"
  elif ! "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "PYTHON=$1 is Python $found: it must be 3.11 or newer"
  elif ! "$1" -c 'import ensurepip, venv' 2>/dev/null; then
    say "PYTHON=$1 comes without venv or ensurepip: Debian and Ubuntu have them in python${found%.*}-venv"
  else
    return 0
  fi
  return 1
}

install() {
  venv=$1 python=$2 requirements=$3 unfinished=$1/unfinished
  shift 3
  if [ -e "$unfinished" ] || ! works "$venv" "${ASKED:-}"; then
    look_at "$python"
    echo "making a virtual environment in $venv ($python)" >&2
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
  install) shift && install "$@" ;;
esac
