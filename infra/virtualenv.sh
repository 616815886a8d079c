#!/bin/sh
# Virtual environments for the Makefile.
#
#     infra/virtualenv.sh install VENV PYTHON REQUIREMENTS [OPTION...]    install hash-pinned requirements into VENV
#     infra/virtualenv.sh works VENV [PYTHON]                             tell whether there is one that can be used
#
# `install` makes VENV first where there is none that works, and anew where its making or an installation was cut off:
# pip cannot tell a package that it has half written from a whole one. PYTHON is looked at before anything is made. ASKED
# is PYTHON where somebody has asked for it: a VENV of another version is then made anew.
set -eu

say() { echo "onnx-ledger: $*" >&2; }

# A Python of our versions that has what it takes to install; the second argument has to be of the same version.
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
    echo "making a virtual environment in $venv ($python)"
    rm -rf "$venv"
    mkdir "$venv"
    : >"$unfinished"
    "$python" -m venv "$venv"
  fi
  : >"$unfinished"
  echo "installing $requirements"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" --require-hashes -r "$requirements"
  rm "$unfinished"
}

case $1 in
  works) works "$2" "${3:-}" ;;
  install) shift && install "$@" ;;
esac
