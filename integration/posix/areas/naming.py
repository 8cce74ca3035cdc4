"""Names are bytes: any but NUL and the slash, up to 255 of them, and each is itself alone."""

from __future__ import annotations

import os
from errno import ENAMETOOLONG, ENOENT

from integration.posix.claims import claim
from integration.posix.tools import content, exists, make, refused, same


def _names_work(names: list[bytes]) -> None:
    for name in names:
        make(name, name)
    same(sorted(os.listdir(b".")), sorted(names))
    for name in names:
        same(content(name), name)
        os.unlink(name)
    same(os.listdir(b"."), [])


@claim()
def every_byte_is_a_name_but_nul_slash_and_dot() -> None:
    _names_work([bytes([byte]) for byte in range(1, 256) if bytes([byte]) not in (b"/", b".")])


@claim()
def every_byte_may_stand_within_a_name() -> None:
    _names_work([b"a" + bytes([byte]) + b"z" for byte in range(1, 256) if byte != 0x2F])


@claim()
def names_that_are_not_utf_8_are_kept() -> None:
    _names_work([b"\xff\xfe", b"\xc3", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"caf\xe9"])


@claim()
def names_that_look_alike_are_different() -> None:
    _names_work(
        [
            "é".encode(),
            "e\u0301".encode(),
            b"A",
            b"a",
            "ß".encode(),
            b"ss",
            "\u200b".encode(),
            b" ",
            b"  ",
            b"a ",
            b" a",
        ]
    )


@claim()
def names_that_mean_something_elsewhere_are_plain() -> None:
    _names_work(
        [
            b"CON",
            b"nul.txt",
            b"a:b",
            b"*",
            b"?",
            b"<>|",
            b"\\",
            b"~",
            b"-rf",
            b"...",
            b"..a",
            b".hidden",
            b"'",
            b'"',
            b"$HOME",
        ]
    )


@claim()
def names_a_server_might_use_for_itself_are_plain() -> None:
    _names_work(
        [
            b".nfs",
            b".nfs0001",
            b".snapshot",
            b".aegis",
            b".nfsd",
            b".nfsd-mode",
            b"lost+found",
            b".Trash",
            b".#x",
            b"._x",
        ]
    )


@claim()
def a_name_of_255_bytes_is_a_name_in_every_call() -> None:
    name, other = "n" * 255, "m" * 255
    make(name, b"x")
    os.rename(name, other)
    os.link(other, name)
    os.unlink(other)
    os.symlink(other, other)
    same((content(name), os.readlink(other)), (b"x", other))
    os.unlink(other)
    os.mkdir(other)
    os.rmdir(other)
    os.mkfifo(other)
    same(sorted(os.listdir(".")), [other, name])


@claim()
def a_name_of_255_bytes_counts_bytes_not_characters() -> None:
    name = "é" * 127 + "x"
    make(name)
    same(os.listdir("."), [name])
    refused(ENAMETOOLONG, os.open, "é" * 128, os.O_CREAT | os.O_WRONLY, 0o644)


@claim()
def a_thousand_names_of_255_bytes_are_listed() -> None:
    names = [f"{number:0255d}" for number in range(1000)]
    for name in names:
        os.symlink("x", name)
    same(sorted(os.listdir(".")), names)


@claim()
def a_name_of_256_bytes_leaves_nothing() -> None:
    for call in (os.mkdir, os.mkfifo):
        refused(ENAMETOOLONG, call, "n" * 256)
    same(os.listdir("."), [])


@claim()
def case_is_kept_and_told_apart() -> None:
    make("Name", b"1")
    same((exists("name"), os.listdir(".")), (False, ["Name"]))
    make("name", b"2")
    same((content("Name"), content("name")), (b"1", b"2"))
    os.rename("name", "NAME")
    same(sorted(os.listdir(".")), ["NAME", "Name"])


@claim()
def slashes_and_dots_in_between_mean_nothing() -> None:
    os.makedirs("a/b")
    make("a/b/f", b"x")
    for path in ("a//b/f", "a/./b/f", ".//a/b/.//f", "a/b/../b/f"):
        same(content(path), b"x")


@claim()
def dot_dot_of_a_missing_directory_is_ENOENT() -> None:
    make("f", b"x")
    refused(ENOENT, os.open, "missing/../f", os.O_RDONLY)


@claim()
def a_name_is_reused_many_times() -> None:
    for number in range(100):
        make("f", b"%d" % number)
        same(content("f"), b"%d" % number)
        os.unlink("f")
        os.mkdir("f")
        os.rmdir("f")
    same(os.listdir("."), [])
