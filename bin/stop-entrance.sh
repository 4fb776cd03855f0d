#!/usr/bin/env bash
# Stops the service in good order, running tasks at a checkpoint: [--data DIR]. Exit status 0 also when none runs.
exec "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/entrance" stop "$@"
