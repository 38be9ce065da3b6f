#!/usr/bin/env bash
# Installs the programs that the tests run and pip has not: Chromium shows the report, bubblewrap holds a model's programs.
# It takes root and apt; without them, one line says what to install.
set -uo pipefail

missing() {
    local packages=()
    command -v chromium chromium-browser google-chrome google-chrome-stable > /dev/null || packages+=(chromium fonts-dejavu-core)
    command -v bwrap > /dev/null || packages+=(bubblewrap)
    echo "${packages[@]}"
}

packages=$(missing)
if [[ -n $packages && $EUID -eq 0 ]] && command -v apt-get > /dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # one word each
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages > /dev/null
    packages=$(missing)
fi
if [[ -n $packages ]]; then
    echo "the tests need programs that are not installed; as root: apt-get install --no-install-recommends $packages" >&2
    exit 2
fi
