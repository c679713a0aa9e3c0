#!/bin/sh
# make_venv.sh FOLDER [PYTHON]: an empty virtual environment in FOLDER, from PYTHON or from the
# first fitting Python on the path. Says what to install where there is none.
set -eu
folder=$1
wanted=${2:-}

complain() {
    printf '\n%s\n\n' "$*" >&2
    exit 1
}

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
# Every pinned package has a wheel for these; a newer Python has to compile one (immutables).
covered() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }
complete() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

candidates=${wanted:-python3 python3.13 python3.12 python3.11 python3.14}
chosen= without_venv=
for kind in covered recent; do
    for candidate in $candidates; do
        [ -z "$chosen" ] || break
        $kind "$candidate" || continue
        if complete "$candidate"; then
            chosen=$candidate
        else
            without_venv=${without_venv:-$candidate}
        fi
    done
done

if [ -z "$chosen" ] && [ -n "$without_venv" ]; then
    complain "$without_venv is Python $(version "$without_venv"), but comes without venv and pip. On Debian or Ubuntu:
    sudo apt install python3-venv        (or python$(version "$without_venv")-venv)"
fi
if [ -z "$chosen" ]; then
    found=$(version "${wanted:-python3}" || echo "not there")
    complain "Python 3.11 or newer is needed; ${wanted:-python3} is ${found:-not there}. On Debian or Ubuntu:
    sudo apt install python3.11 python3.11-venv
or name another one:  make PYTHON=/path/to/python3 book"
fi

echo "Setting up $folder with Python $(version "$chosen") ($(command -v "$chosen")). This happens once: about 7 GB, a few minutes."
covered "$chosen" || echo "Python $(version "$chosen") is newer than the pinned packages: one of them may need a C compiler."
"$chosen" -m venv --clear "$folder"
