#!/usr/bin/env bash
# Starts the service and returns when it answers: [--host H] [--port N] [--data DIR] [--conf FILE] [--foreground]
exec "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/entrance" start "$@"
