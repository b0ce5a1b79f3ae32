#!/bin/sh
# Installs what the build needs beside Rust: a C compiler and cmake (zlib-ng and aws-lc are C).
# Does nothing when they are there; says in one line what to install when it may not do so itself.
set -eu

missing=""
command -v cc >/dev/null 2>&1 || missing="$missing cc"
command -v cmake >/dev/null 2>&1 || missing="$missing cmake"
if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust is missing: install it from https://rustup.rs, then run this again." >&2
    exit 1
fi
[ -n "$missing" ] || exit 0

# The package that brings a command, by package manager.
packages() {
    for command in $missing; do
        case "$1:$command" in
            apt-get:cc) echo build-essential ;;
            apk:cc) echo build-base ;;
            pacman:cc) echo base-devel ;;
            *:cc) echo gcc ;;
            *) echo "$command" ;;
        esac
    done | tr '\n' ' '
}

install_with() {
    case "$1" in
        apt-get) echo "apt-get update -qq && apt-get install -y -qq $(packages apt-get)" ;;
        dnf) echo "dnf install -y -q $(packages dnf)" ;;
        zypper) echo "zypper -n -q install $(packages zypper)" ;;
        apk) echo "apk add -q $(packages apk)" ;;
        pacman) echo "pacman -Sy --noconfirm --needed $(packages pacman)" ;;
        brew) echo "brew install -q cmake" ;;
    esac
}

for manager in apt-get dnf zypper apk pacman brew; do
    command -v "$manager" >/dev/null 2>&1 || continue
    recipe=$(install_with "$manager")
    if [ "$manager" = brew ] || [ "$(id -u)" = 0 ]; then
        run="sh -c"
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        run="sudo sh -c"
    else
        echo "Missing:$missing. Install with: sudo sh -c '$recipe'" >&2
        exit 1
    fi
    echo "Installing$missing with $manager ..." >&2
    DEBIAN_FRONTEND=noninteractive $run "$recipe" >/dev/null
    exit 0
done
echo "Missing:$missing. Install a C compiler and cmake, then run this again." >&2
exit 1
