"""unlink and rmdir, and what stays of a file that is open when its last name goes."""

from __future__ import annotations

import os
from errno import EBUSY, EEXIST, EINVAL, ENOENT, ENOTEMPTY

from integration.posix.claims import claim
from integration.posix.tools import KINDS, after_tick, content, make, opened, refused, same, write_all


@claim()
def an_unlinked_open_file_is_read_and_written_until_it_is_closed() -> None:
    make("f", b"before")
    with opened("f", os.O_RDWR) as fd:
        os.unlink("f")
        same(os.pread(fd, 100, 0), b"before")
        os.pwrite(fd, b"after!!", 0)
        same(os.pread(fd, 100, 0), b"after!!")
        os.ftruncate(fd, 3)
        same(os.fstat(fd).st_size, 3, "size")
        same(os.path.exists("f"), False, "the name exists")


@claim()
def an_unlinked_open_file_has_no_links() -> None:
    make("f")
    with opened("f") as fd:
        os.unlink("f")
        same(os.fstat(fd).st_nlink, 0, "links")


@claim()
def a_directory_is_empty_once_its_open_file_is_unlinked() -> None:
    os.mkdir("d")
    make("d/f")
    with opened("d/f"):
        os.unlink("d/f")
        same(os.listdir("d"), [])
        os.rmdir("d")


@claim()
def an_unlinked_open_file_is_gone_from_the_directory_after_close() -> None:
    os.mkdir("d")
    make("d/f")
    with opened("d/f"):
        os.unlink("d/f")
    same(os.listdir("d"), [])
    os.rmdir("d")


@claim()
def the_name_of_an_unlinked_open_file_can_be_made_anew() -> None:
    make("f", b"old")
    with opened("f") as fd:
        os.unlink("f")
        make("f", b"new")
        same(os.pread(fd, 10, 0), b"old")
        same(content("f"), b"new")


@claim()
def an_open_file_that_is_renamed_over_keeps_its_content() -> None:
    make("f", b"old")
    make("g", b"new")
    with opened("f") as fd:
        os.rename("g", "f")
        same(os.pread(fd, 10, 0), b"old")
        same(content("f"), b"new")


@claim()
def two_unlinked_open_files_of_one_name_are_two_files() -> None:
    make("f", b"first")
    with opened("f", os.O_RDWR) as one:
        os.unlink("f")
        make("f", b"second")
        with opened("f", os.O_RDWR) as two:
            os.unlink("f")
            same((os.pread(one, 10, 0), os.pread(two, 10, 0)), (b"first", b"second"))


@claim()
def an_unlinked_open_file_takes_chmod_utime_and_reports_them() -> None:
    make("f")
    with opened("f", os.O_RDWR) as fd:
        os.unlink("f")
        os.fchmod(fd, 0o400)
        os.utime(fd, ns=(5, 7 * 10**9))
        st = os.fstat(fd)
        same((st.st_mode & 0o7777, st.st_mtime_ns), (0o400, 7 * 10**9))


@claim()
def unlink_of_one_link_moves_ctime_of_the_other() -> None:
    make("one")
    os.link("one", "two")
    after_tick("two")
    before = os.stat("two").st_ctime_ns
    os.unlink("one")
    same(os.stat("two").st_ctime_ns > before, True, "ctime moved")


@claim()
def unlink_of_a_symlink_leaves_its_target() -> None:
    make("target", b"x")
    os.symlink("target", "link")
    os.unlink("link")
    same(content("target"), b"x")


@claim()
def unlink_of_a_file_that_may_not_be_written_works() -> None:
    make("f", mode=0o000)
    os.unlink("f")
    same(os.listdir("."), [])


@claim()
def a_thousand_files_are_made_and_unlinked() -> None:
    for number in range(1000):
        os.close(os.open(f"f{number}", os.O_CREAT | os.O_WRONLY))
    same(len(os.listdir(".")), 1000)
    for number in range(1000):
        os.unlink(f"f{number}")
    same(os.listdir("."), [])


@claim()
def rmdir_of_a_directory_with_an_entry_is_ENOTEMPTY() -> None:
    for kind, create in KINDS.items():
        os.mkdir(f"with_{kind}")
        create(f"with_{kind}/e")
        refused((ENOTEMPTY, EEXIST), os.rmdir, f"with_{kind}")


@claim()
def rmdir_of_dot_is_EINVAL() -> None:
    os.mkdir("d")
    refused(EINVAL, os.rmdir, "d/.")


@claim()
def rmdir_of_dot_dot_is_ENOTEMPTY() -> None:
    os.makedirs("d/e")
    refused((ENOTEMPTY, EEXIST, EINVAL), os.rmdir, "d/e/..")


@claim()
def rmdir_takes_a_link_from_the_parent() -> None:
    os.makedirs("d/e")
    same(os.stat("d").st_nlink, 3, "links with a child")
    os.rmdir("d/e")
    same(os.stat("d").st_nlink, 2, "links without")


@claim()
def rmdir_of_an_open_directory_works_and_it_lists_nothing() -> None:
    os.mkdir("d")
    with opened("d", os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.rmdir("d")
        try:
            same(os.listdir(fd), [])
        except FileNotFoundError:
            pass  # what Linux says of a dead directory


@claim()
def nothing_can_be_made_in_a_removed_directory() -> None:
    os.mkdir("d")
    with opened("d", os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.rmdir("d")
        refused(ENOENT, os.open, "f", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd)
        refused(ENOENT, os.mkdir, "e", dir_fd=fd)


@claim()
def rmdir_of_the_working_directory_works_or_is_EBUSY() -> None:
    os.mkdir("d")
    os.chdir("d")
    try:
        os.rmdir("../d")
        refused(ENOENT, os.mkdir, "e")
    except OSError as error:
        same(error.errno, EBUSY)
    finally:
        os.chdir("..") if os.path.exists("..") else None


@claim()
def a_file_unlinked_while_written_takes_no_name_with_it() -> None:
    make("keep", b"keep")
    with opened("gone", os.O_CREAT | os.O_WRONLY) as fd:
        write_all(fd, b"x" * 100_000)
        os.unlink("gone")
        write_all(fd, b"y" * 100_000)
    same(os.listdir("."), ["keep"])
