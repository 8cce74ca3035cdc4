"""The file system as a whole and what only some have: statvfs, limits, extended attributes, preallocation, devices."""

from __future__ import annotations

import os
import stat
from errno import EINVAL, ENODATA, ENOTSUP, ENOTTY, EOPNOTSUPP, EPERM, EXDEV

from integration.posix.claims import ORDINARY, ROOT, NotHere, claim
from integration.posix.tools import content, fallocate, holds, libc, make, opened, refused, same, write_all

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16


@claim()
def statvfs_is_plausible() -> None:
    found = os.statvfs(".")
    holds(found.f_bsize >= 512 and found.f_frsize >= 512, f"block sizes {found.f_bsize}, {found.f_frsize}")
    holds(found.f_blocks >= found.f_bfree >= found.f_bavail > 0, f"blocks {found}")
    holds(found.f_files >= found.f_ffree > 0, f"inodes {found}")
    same(found.f_namemax, 255)


@claim()
def statvfs_of_a_file_and_of_a_descriptor_are_the_volumes() -> None:
    make("f")
    with opened("f") as fd:
        same(os.fstatvfs(fd).f_blocks, os.statvfs(".").f_blocks)
    same(os.statvfs("f").f_namemax, os.statvfs(".").f_namemax)


@claim()
def pathconf_tells_the_limits() -> None:
    same(os.pathconf(".", "PC_NAME_MAX"), 255)
    same(os.pathconf(".", "PC_PATH_MAX"), 4096)
    holds(os.pathconf(".", "PC_LINK_MAX") >= 127, "a file should have 127 links at least")
    same(os.pathconf(".", "PC_NO_TRUNC"), 1)
    same(os.pathconf(".", "PC_CHOWN_RESTRICTED"), 1)


@claim()
def everything_in_it_is_one_device() -> None:
    os.makedirs("a/b")
    make("a/b/f")
    same({os.lstat(name).st_dev for name in (".", "a", "a/b", "a/b/f")}, {os.stat(".").st_dev})


@claim()
def link_and_rename_to_another_file_system_are_EXDEV() -> None:
    make("f")
    if os.stat("/dev/shm").st_dev == os.stat(".").st_dev or not os.access("/dev/shm", os.W_OK):
        raise NotHere("no other file system to write to in /dev/shm")
    refused(EXDEV, os.link, "f", f"/dev/shm/posix-suite-{os.getpid()}")
    refused(EXDEV, os.rename, "f", f"/dev/shm/posix-suite-{os.getpid()}")


@claim()
def inode_numbers_differ_and_stay() -> None:
    for number in range(100):
        make(f"f{number}")
    numbers = [os.stat(f"f{number}").st_ino for number in range(100)]
    same(len(set(numbers)), 100, "different ones")
    same([os.stat(f"f{number}").st_ino for number in range(100)], numbers)


@claim()
def user_attributes_are_kept() -> None:
    make("f")
    os.setxattr("f", "user.colour", b"blue")
    same((os.getxattr("f", "user.colour"), os.listxattr("f")), (b"blue", ["user.colour"]))
    os.removexattr("f", "user.colour")
    refused(ENODATA, os.getxattr, "f", "user.colour")


@claim()
def user_attributes_are_kept_or_ENOTSUP() -> None:
    """What cp -a, rsync -X and git take for an answer."""
    make("f")
    try:
        os.setxattr("f", "user.colour", b"blue")
    except OSError as error:
        same(error.errno, ENOTSUP)


@claim()
def no_attribute_of_the_servers_own_shows() -> None:
    make("f", mode=0o000)
    os.chmod("f", 0o4000)
    os.mkdir("d")
    os.chmod("d", 0o3000)
    for name in ("f", "d"):
        os.chmod(name, 0o3700)
        try:
            same([each for each in os.listxattr(name) if each.startswith("user.")], [])
        except OSError as error:
            same(error.errno, ENOTSUP)


@claim()
def posix_fallocate_makes_the_file_as_long() -> None:
    with opened("f", os.O_CREAT | os.O_RDWR) as fd:
        write_all(fd, b"start")
        os.posix_fallocate(fd, 0, 100_000)
        same(os.fstat(fd).st_size, 100_000)
    same(content("f"), b"start" + bytes(99_995))


@claim()
def fallocate_reserves_without_writing() -> None:
    with opened("f", os.O_CREAT | os.O_RDWR) as fd:
        fallocate(fd, 0, 0, 1 << 20)
        same(os.fstat(fd).st_size, 1 << 20)
        fallocate(fd, KEEP_SIZE, 0, 2 << 20)
        same(os.fstat(fd).st_size, 1 << 20)


@claim()
def a_hole_is_punched() -> None:
    make("f", b"x" * 20_000)
    with opened("f", os.O_RDWR) as fd:
        fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 4096, 8192)
        same(os.pread(fd, 20_000, 0), b"x" * 4096 + bytes(8192) + b"x" * (20_000 - 12_288))


@claim()
def what_is_not_supported_says_so_and_changes_nothing() -> None:
    make("f", b"x" * 20_000)
    with opened("f", os.O_RDWR) as fd:
        for mode in (0, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE):
            try:
                fallocate(fd, mode, 0, 10)
            except OSError as error:
                same(error.errno, EOPNOTSUPP)
                same(content("f"), b"x" * 20_000)


@claim()
def an_unknown_ioctl_is_ENOTTY() -> None:
    import fcntl

    make("f")
    with opened("f") as fd:
        refused((ENOTTY, EINVAL), fcntl.ioctl, fd, 0x5401, bytes(64))


@claim(ORDINARY)
def devices_are_EPERM_for_ordinary_users() -> None:
    refused(EPERM, os.mknod, "c", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    refused(EPERM, os.mknod, "b", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    same(os.listdir("."), [])


@claim(ROOT)
def root_makes_devices() -> None:
    os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    st = os.stat("null")
    same((stat.S_ISCHR(st.st_mode), st.st_rdev), (True, os.makedev(1, 3)))


@claim()
def mknod_makes_files_fifos_and_sockets() -> None:
    os.mknod("f", stat.S_IFREG | 0o640)
    os.mknod("p", stat.S_IFIFO | 0o600)
    os.mknod("s", stat.S_IFSOCK | 0o600)
    same([stat.S_IFMT(os.lstat(name).st_mode) for name in "fps"], [stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK])
    same(stat.S_IMODE(os.stat("f").st_mode), 0o640)


@claim()
def syncfs_succeeds() -> None:
    make("f", b"x")
    with opened(".", os.O_RDONLY | os.O_DIRECTORY) as fd:
        libc("syncfs", fd)


@claim()
def stat_of_a_file_is_the_same_by_name_and_by_descriptor() -> None:
    make("f", b"x" * 100)
    os.utime("f", (5, 6))
    with opened("f") as fd:
        same(tuple(os.fstat(fd)), tuple(os.stat("f")))


@claim()
def the_block_size_is_a_power_of_two_and_useful() -> None:
    make("f")
    size = os.stat("f").st_blksize
    holds(size >= 512 and size & (size - 1) == 0, f"st_blksize {size}")
