"""Programs on the file system: who may run them, and what happens to them meanwhile."""

from __future__ import annotations

import ctypes
import os
from errno import EACCES, ETXTBSY

from integration.posix.claims import ROOT, NotHere, claim
from integration.posix.tools import exists, fork_and_exec, in_child, make, opened, refused, same

LIBRARIES = ("/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6", "/usr/lib/libm.so.6")


@claim()
def a_program_runs() -> None:
    with open("/bin/true", "rb") as program:
        make("true", program.read(), 0o755)
    same(fork_and_exec("./true"), 0, "exit status")


@claim()
def a_program_open_for_writing_is_ETXTBSY() -> None:
    with open("/bin/true", "rb") as program:
        make("true", program.read(), 0o755)
    with opened("true", os.O_WRONLY):
        refused(ETXTBSY, os.execv, "./true", ["true"])


@claim()
def a_script_runs_by_its_first_line() -> None:
    make("script", b"#!/bin/sh\nexit 7\n", 0o755)
    same(fork_and_exec("./script"), 7, "exit status")


@claim()
def a_program_without_execute_bits_does_not_run() -> None:
    make("script", b"#!/bin/sh\nexit 7\n", 0o644)
    refused(EACCES, os.execv, "./script", ["script"])


@claim(ROOT)
def root_executes_only_what_somebody_may_execute() -> None:
    make("f", b"#!/bin/sh\nexit 3\n", 0o600)
    same(os.access("f", os.X_OK), False)
    refused(EACCES, os.execv, "./f", ["f"])
    os.chmod("f", 0o001)
    same(os.access("f", os.X_OK), True)
    same(fork_and_exec("./f"), 3)


@claim()
def a_program_just_written_and_renamed_into_place_runs() -> None:
    """As installers and build tools do."""
    for number in range(5):
        make(".new", b"#!/bin/sh\nexit %d\n" % number, 0o755)
        os.rename(".new", "tool")
        same(fork_and_exec("./tool"), number, "exit status")


@claim()
def a_program_replaced_while_it_runs_goes_on() -> None:
    make("script", b"#!/bin/sh\nrm script\nexit 5\n", 0o755)
    same(fork_and_exec("./script"), 5, "exit status")
    same(exists("script"), False, "the name exists")


@claim()
def a_shared_library_is_loaded() -> None:
    found = next((path for path in LIBRARIES if os.path.exists(path)), None)
    if found is None:
        raise NotHere("no C library where one is looked for")
    with open(found, "rb") as original:
        make("library.so", original.read(), 0o755)

    def load_and_call() -> float:
        library = ctypes.CDLL("./library.so")
        library.floor.restype, library.floor.argtypes = ctypes.c_double, [ctypes.c_double]
        return float(library.floor(2.5))

    same(in_child(load_and_call), 2.0)  # a loaded library stays open as long as its process


@claim()
def a_directory_is_not_executed() -> None:
    os.mkdir("d", 0o755)
    refused(EACCES, os.execv, "./d", ["d"])


@claim()
def a_script_behind_a_symlink_runs() -> None:
    """As node_modules/.bin and a venv's bin do."""
    os.makedirs("lib/bin")
    make("lib/bin/tool", b"#!/bin/sh\nexit 9\n", 0o755)
    os.symlink("lib/bin/tool", "tool")
    same(fork_and_exec("./tool"), 9, "exit status")
