# Tasks of everyday work; `just` lists them. They use the environment that is active.

# What needs no task
_default:
    @just --list

# Start the app; it reloads when a file changes
run:
    streamlit run app.py --server.fileWatcherType poll

# The quick suite, as CI runs it; `just test tests/samplers -k ties` for a part
test *arguments:
    pytest {{arguments}}

# The suite with what is slow and rarely breaks
thorough *arguments:
    pytest --thorough {{arguments}}

# Everything that CI checks of the text: style, types, imports between rooms, JavaScript and CSS
lint:
    ruff check .
    ruff format --check .
    mypy
    lint-imports
    npx biome ci pages

# Mend what can be mended by a machine
fix:
    ruff check --fix .
    ruff format .
    npx biome check --write pages

# What a bare Debian machine has to pass
ci:
    bash .ci/run

# Write requirements.lock anew from a fresh environment
lock:
    #!/usr/bin/env bash
    set -euo pipefail
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    python3 -m venv "$scratch"
    "$scratch/bin/pip" install -r tests/requirements.txt
    { sed -n "/^#/p" requirements.lock; "$scratch/bin/pip" freeze | sed 's/+cpu$//'; } > "$scratch/lock"
    cp "$scratch/lock" requirements.lock
