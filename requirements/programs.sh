#!/usr/bin/env bash
# Installs what the tests need and pip does not provide: Chromium draws the report, bubblewrap holds a model's programs.
# It needs root and apt; otherwise one line says what to install.
set -uo pipefail

missing() {
    local packages=() name
    for name in chromium chromium-browser google-chrome google-chrome-stable ""; do
        [[ -n $name ]] && "$name" --version > /dev/null 2>&1 && break # Ubuntu's chromium-browser only names a snap
    done
    [[ -n $name ]] || packages+=(chromium fonts-dejavu-core)
    command -v bwrap > /dev/null || packages+=(bubblewrap)
    echo "${packages[@]}"
}

packages=$(missing)
if [[ -n $packages && $EUID -eq 0 ]] && command -v apt-get > /dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # one word each
    apt-get install -y -qq --no-install-recommends $packages > /dev/null
    packages=$(missing)
fi
if [[ -n $packages ]]; then
    echo "the tests need programs that are not installed: ${packages// /, } (as root: apt-get install $packages)" >&2
    exit 2
fi
