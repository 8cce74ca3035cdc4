#!/bin/sh
# Builds the agent's native bootstrap for the architectures it is shipped for, beside bootstrap.py.
# The result is a function of the sources and the compiler (Debian 12: gcc 12.2.0): tests/aegis/bootstrap compares it.
#   aegis/bootstrap/native/build.sh [OUTPUT-DIRECTORY]      needs gcc and gcc-aarch64-linux-gnu
set -eu
cd "$(dirname "$0")"
target=${1:-..}
build() { # COMPILER-PREFIX ARCHITECTURE, as Docker calls it
    "$1gcc" -std=gnu11 -Os -Wall -Wextra -Werror -ffreestanding -fno-builtin -fno-tree-loop-distribute-patterns \
        -fno-stack-protector -fno-asynchronous-unwind-tables -fno-ident -fno-pie -no-pie -static -nostdlib \
        -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,norelro -Wl,--gc-sections -Wl,-s -o "$target/agent-$2" \
        command.c http.c main.c resolve.c stream.c system.c text.c wait.c ${3:+$3}
}
case $(uname -m) in
x86_64) build "" amd64; build aarch64-linux-gnu- arm64 -mno-outline-atomics ;;
*) echo "build.sh: builds on x86_64 only" >&2; exit 1 ;;
esac
