"""Two processes in one directory, on two clients if there are two: what one has closed, the other opens.

On two clients of a mount most of these claims are close-to-open consistency: an open, a listing or an exclusive create
asks the server.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from errno import EEXIST, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY

from integration.posix.claims import PEER, claim
from integration.posix.peer import Peer
from integration.posix.peer_actions import claim_names, create_many, remove_many, rename_many
from integration.posix.tools import after_tick, content, holds, make, opened, refused, same, write_all

FILES = 40


@claim(PEER)
def what_one_wrote_and_closed_the_other_reads(there: Peer) -> None:
    there("write", "f", "from there")
    same(content("f"), b"from there")
    make("g", b"from here")
    same(there("read", "g"), "from here")


@claim(PEER)
def a_file_rewritten_there_is_read_anew_here(there: Peer) -> None:
    make("f", b"first")
    same(content("f"), b"first")
    for number in range(10):
        there("write", "f", f"number {number}")
        same(content("f"), b"number %d" % number)


@claim(PEER)
def turns_of_writing_are_all_seen(there: Peer) -> None:
    make("f", b"0")
    for number in range(1, 11):
        same(there("read", "f"), str(2 * number - 2))
        with opened("f", os.O_WRONLY | os.O_TRUNC) as fd:
            write_all(fd, b"%d" % (2 * number - 1))
        same(content("f"), b"%d" % (2 * number - 1))
        there("write", "f", str(2 * number))


@claim(PEER)
def a_file_of_the_same_size_rewritten_there_is_read_anew_here(there: Peer) -> None:
    make("f", b"aaaa")
    same(content("f"), b"aaaa")
    there("write", "f", "bbbb")
    same(content("f"), b"bbbb")


@claim(PEER)
def a_file_truncated_there_is_short_here(there: Peer) -> None:
    make("f", b"x" * 10_000)
    same(len(content("f")), 10_000)
    there("truncate", "f", 5)
    same(content("f"), b"xxxxx")


@claim(PEER)
def an_append_there_is_behind_an_append_here(there: Peer) -> None:
    make("f")
    for number in range(5):
        with opened("f", os.O_WRONLY | os.O_APPEND) as fd:
            write_all(fd, b"h%d " % number)
        there("append", "f", f"t{number} ")
    same(content("f"), b"".join(b"h%d t%d " % (number, number) for number in range(5)))


@claim(PEER)
def a_file_replaced_there_by_rename_is_the_new_one_here(there: Peer) -> None:
    make("f", b"old")
    same(content("f"), b"old")
    there("write", "new", "replaced")
    there("rename", "new", "f")
    same(content("f"), b"replaced")


@claim(PEER)
def a_file_open_here_and_replaced_there_is_still_read_here(there: Peer) -> None:
    make("f", b"old")
    with opened("f") as fd:
        same(os.pread(fd, 10, 0), b"old")
        there("write", "new", "new")
        there("rename", "new", "f")
        same(content("f"), b"new")
        same(os.pread(fd, 10, 0), b"old")


@claim(PEER)
def an_exclusive_create_is_won_by_one_of_the_two(there: Peer) -> None:
    there("create_exclusively", "f")
    refused(EEXIST, os.open, "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    make("g")
    refused(EEXIST, there, "create_exclusively", "g")


@claim(PEER)
def of_names_raced_for_each_is_won_once(there: Peer) -> None:
    os.mkdir("d")
    there.start("claim_names", "d", "there", FILES)
    here = claim_names("d", "here", FILES)
    won_there = there.finish()
    same(here + won_there, FILES, "names won")
    after_tick("d")
    owners = [content(f"d/{number}") for number in range(FILES)]
    same((owners.count(b"here"), owners.count(b"there")), (here, won_there))


@claim(PEER)
def directories_made_there_are_walked_here(there: Peer) -> None:
    there("makedirs", "a/b/c")
    there("write", "a/b/c/f", "deep")
    same(content("a/b/c/f"), b"deep")


@claim(PEER)
def mkdir_of_what_was_made_there_is_EEXIST(there: Peer) -> None:
    there("mkdir", "d")
    refused(EEXIST, os.mkdir, "d")


@claim(PEER)
def a_name_taken_there_by_whatever_is_taken_here(there: Peer) -> None:
    """Looked for here before, in vain; what took it is not known here when it is asked for."""
    make("old")
    takes: dict[str, tuple[str, ...]] = {"write": ("x",), "mkdir": (), "mkfifo": (), "symlink": ()}
    makes: dict[str, Callable[[str], object]] = {
        "open": lambda name: os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "mkdir": os.mkdir, "fifo": os.mkfifo,
        "symlink": lambda name: os.symlink("nowhere", name), "link": lambda name: os.link("old", name),
    }  # fmt: skip
    for take, arguments in takes.items():
        for way, create in makes.items():
            name = f"{take}-{way}"
            same(os.path.lexists(name), False)
            there(take, *(("nowhere", name) if take == "symlink" else (name, *arguments)))
            refused(EEXIST, create, name)


@claim(PEER)
def what_a_name_has_become_there_decides_what_removes_it_here(there: Peer) -> None:
    make("f")
    os.mkdir("d")
    same((os.path.isfile("f"), os.path.isdir("d")), (True, True))
    there("unlink", "f")
    there("mkdir", "f")
    there("rmdir", "d")
    there("write", "d", "x")
    refused(EISDIR, os.unlink, "f")
    refused(ENOTDIR, os.rmdir, "d")
    os.rmdir("f")
    os.unlink("d")
    same(os.listdir("."), [])


@claim(PEER)
def rmdir_of_a_directory_filled_there_is_ENOTEMPTY(there: Peer) -> None:
    os.mkdir("d")
    there("write", "d/f", "x")
    refused(ENOTEMPTY, os.rmdir, "d")


@claim(PEER)
def unlink_of_what_was_removed_there_is_ENOENT(there: Peer) -> None:
    make("f")
    there("unlink", "f")
    refused(ENOENT, os.unlink, "f")


@claim(PEER)
def open_of_what_was_removed_there_is_ENOENT(there: Peer) -> None:
    make("f", b"x")
    same(content("f"), b"x")
    there("unlink", "f")
    refused(ENOENT, os.open, "f", os.O_RDONLY)


@claim(PEER)
def a_listing_shows_what_was_made_and_removed_there(there: Peer) -> None:
    os.mkdir("d")
    there("create_many", "d", "f", 10)
    same(len(os.listdir("d")), 10)
    there("remove_many", "d", "f", 5)
    with opened("d", os.O_RDONLY | os.O_DIRECTORY) as fd:  # an open asks the server
        same(sorted(os.listdir(fd)), [f"f{number}" for number in range(5, 10)])


@claim(PEER)
def names_made_by_both_at_once_are_all_there(there: Peer) -> None:
    os.mkdir("d")
    there.start("create_many", "d", "t", FILES)
    create_many("d", "h", FILES)
    there.finish()
    same(len(os.listdir("d")), 2 * FILES)
    same(len(there("listdir", "d")), 2 * FILES)


@claim(PEER)
def names_removed_by_one_while_the_other_makes_some_leave_exactly_those(there: Peer) -> None:
    os.mkdir("d")
    create_many("d", "old", FILES)
    there.start("create_many", "d", "new", FILES)
    remove_many("d", "old", FILES)
    there.finish()
    same(sorted(os.listdir("d")), sorted(f"new{number}" for number in range(FILES)))


@claim(PEER)
def a_listing_during_changes_there_has_every_name_that_stays(there: Peer) -> None:
    os.mkdir("d")
    create_many("d", "stays", FILES)
    there.start("create_many", "d", "comes", FILES)
    for _ in range(5):
        names = os.listdir("d")
        same(len(names), len(set(names)), "names, none twice")
        holds(sum(name.startswith("stays") for name in names) == FILES, f"a name that stayed is missing of {names}")
    there.finish()


@claim(PEER)
def renames_over_one_name_by_both_leave_one_file(there: Peer) -> None:
    there.start("rename_many", "t", "target", FILES)
    rename_many("h", "target", FILES)
    there.finish()
    same(os.listdir("."), ["target"])
    holds(content("target")[:1] in (b"t", b"h"), "the target should be one of theirs")


@claim(PEER)
def hard_links_made_there_are_counted_here(there: Peer) -> None:
    make("f")
    there("link", "f", "g")
    with opened("f") as fd:
        same(os.fstat(fd).st_nlink, 2)
    same(os.stat("g").st_ino, os.stat("f").st_ino)


@claim(PEER)
def a_mode_changed_there_holds_here(there: Peer) -> None:
    make("f", b"x", 0o644)
    there("chmod", "f", 0o600)
    with opened("f") as fd:
        same(stat.S_IMODE(os.fstat(fd).st_mode), 0o600)


@claim(PEER)
def a_symlink_made_there_is_followed_here(there: Peer) -> None:
    make("target", b"x")
    there("symlink", "target", "l")
    same((content("l"), os.readlink("l")), (b"x", "target"))


@claim(PEER)
def inode_numbers_are_the_same_for_both(there: Peer) -> None:
    make("f")
    os.mkdir("d")
    for name in ("f", "d"):
        same(there("status", name)["ino"], os.stat(name).st_ino)


@claim(PEER)
def a_directory_renamed_there_is_found_under_its_new_name(there: Peer) -> None:
    os.makedirs("a/b")
    make("a/b/f", b"x")
    there("rename", "a", "z")
    same(content("z/b/f"), b"x")


@claim(PEER)
def the_working_directory_renamed_there_stays_ours(there: Peer) -> None:
    os.mkdir("a")
    os.chdir("a")
    there("rename", "a", "z")
    make("f", b"x")
    same(there("read", "z/f"), "x")


@claim(PEER)
def a_file_open_there_and_unlinked_there_is_read_there(there: Peer) -> None:
    make("f", b"held")
    there("hold", "f")
    there("unlink", "f")
    same(there("read_held", "f"), "held")
    there("release", "f")
    refused(ENOENT, os.open, "f", os.O_RDONLY)


@claim(PEER)
def stat_of_what_was_removed_there_a_moment_ago_is_ENOENT(there: Peer) -> None:
    make("f")
    os.stat("f")
    there("unlink", "f")
    refused(ENOENT, os.stat, "f")


@claim(PEER)
def a_name_looked_for_in_vain_is_seen_as_soon_as_it_is_made_there(there: Peer) -> None:
    refused(ENOENT, os.stat, "f")
    there("write", "f", "x")
    os.stat("f")


@claim(PEER)
def a_lock_file_made_by_link_is_exclusive(there: Peer) -> None:
    """The oldest lock that is safe on NFS: link a file of one's own to the lock's name."""
    make("mine")
    there("write", "yours", "")
    os.link("mine", "lock")
    refused(EEXIST, there, "link", "yours", "lock")
    os.unlink("lock")
    there("link", "yours", "lock")
    refused(EEXIST, os.link, "mine", "lock")


@claim(PEER)
def a_large_file_goes_across_whole(there: Peer) -> None:
    text = "0123456789abcdef" * 20_000
    there("write", "f", text)
    same(content("f").decode() == text, True, "content is the same")
