#!/usr/bin/env bash
# Says whether the service runs: [--data DIR]. Exit status 0 running, 3 stopped.
exec "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/entrance" status "$@"
