"""What is written is read: offsets, holes, truncation, mappings, large files, several writers."""

from __future__ import annotations

import mmap
import os
import random
import resource
import signal
from errno import EFBIG, EINVAL, EISDIR, ENXIO

from integration.posix.claims import ORDINARY, claim
from integration.posix.tools import (
    content,
    holds,
    in_child,
    make,
    opened,
    refused,
    same,
    together,
    write_all,
)

PAGE = 4096
LARGE_BYTES = 3 << 20
WRITERS = 3
FAR = 5 << 30


@claim()
def a_write_beyond_the_end_leaves_zeros_between() -> None:
    make("f", b"start")
    with opened("f", os.O_RDWR) as fd:
        os.pwrite(fd, b"end", 10_000)
        same(os.fstat(fd).st_size, 10_003)
    same(content("f"), b"start" + bytes(9_995) + b"end")


@claim()
def truncate_to_more_appends_zeros() -> None:
    make("f", b"start")
    os.truncate("f", 9_000)
    same(content("f"), b"start" + bytes(8_995))


@claim()
def truncate_to_less_and_more_again_does_not_bring_the_old_bytes_back() -> None:
    make("f", b"x" * 10_000)
    os.truncate("f", 3)
    os.truncate("f", 10_000)
    same(content("f"), b"xxx" + bytes(9_997))


@claim()
def truncate_within_a_page_that_is_written_but_not_yet_sent() -> None:
    with opened("f", os.O_CREAT | os.O_RDWR) as fd:
        os.write(fd, b"x" * 6000)
        os.ftruncate(fd, 5000)
        os.ftruncate(fd, 7000)
        same(os.pread(fd, 10_000, 0), b"x" * 5000 + bytes(2000))
    same(content("f"), b"x" * 5000 + bytes(2000))


@claim()
def truncate_to_the_same_size_keeps_the_content() -> None:
    make("f", b"content")
    os.truncate("f", 7)
    same(content("f"), b"content")


@claim()
def truncate_refuses_directories_and_negative_sizes() -> None:
    os.mkdir("d")
    make("f", b"x")
    refused(EISDIR, os.truncate, "d", 0)
    refused(EINVAL, os.truncate, "f", -1)
    same(content("f"), b"x")


@claim()
def truncate_follows_symlinks() -> None:
    make("f", b"content")
    os.symlink("f", "l")
    os.truncate("l", 3)
    same((content("f"), os.readlink("l")), (b"con", "f"))


@claim()
def a_sparse_file_has_its_size_and_few_blocks() -> None:
    with opened("f", os.O_CREAT | os.O_RDWR) as fd:
        os.ftruncate(fd, FAR)
        os.pwrite(fd, b"far", FAR - 3)
        os.fsync(fd)
        st = os.fstat(fd)
        same(st.st_size, FAR)
        holds(st.st_blocks * 512 < 1 << 20, f"a file of one written page should have few blocks, has {st.st_blocks}")
        same(os.pread(fd, 10, FAR - 8), bytes(5) + b"far")
        same(os.pread(fd, 10, FAR // 2), bytes(10))


@claim()
def blocks_grow_with_what_is_written() -> None:
    make("f", b"x" * 100_000)
    with opened("f") as fd:
        os.fsync(fd)
    holds(os.stat("f").st_blocks * 512 >= 100_000, f"blocks are {os.stat('f').st_blocks}")


@claim()
def a_read_at_and_past_the_end_is_empty() -> None:
    make("f", b"12345")
    with opened("f") as fd:
        same((os.pread(fd, 10, 3), os.pread(fd, 10, 5), os.pread(fd, 10, 5000)), (b"45", b"", b""))
        same(os.pread(fd, 10, 1 << 40), b"")


@claim()
def files_around_page_and_transfer_sizes_come_back_whole() -> None:
    source = random.Random(3).randbytes(70_000)
    for size in (1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE - 1, 65_535, 65_536, 65_537):
        make(f"f{size}", source[:size])
        holds(content(f"f{size}") == source[:size], f"{size} bytes should come back as written")


@claim()
def three_mebibytes_come_back_whole_in_odd_pieces() -> None:
    source = random.Random(4).randbytes(LARGE_BYTES)
    make("f", source)
    read = []
    with opened("f") as fd:
        while piece := os.read(fd, 77_777):
            read.append(piece)
    holds(b"".join(read) == source, "the content should come back as written")


@claim()
def overlapping_writes_in_any_order_are_the_last_ones() -> None:
    chance = random.Random(5)
    model = bytearray(50_000)
    with opened("f", os.O_CREAT | os.O_RDWR) as fd:
        os.ftruncate(fd, len(model))
        for _ in range(60):
            start = chance.randrange(len(model) - 5000)
            piece = chance.randbytes(chance.randrange(1, 5000))
            os.pwrite(fd, piece, start)
            model[start : start + len(piece)] = piece
        holds(os.pread(fd, 60_000, 0) == model, "before close")
    holds(content("f") == model, "after close")


@claim()
def scattered_writes_land_where_they_were_aimed() -> None:
    with opened("f", os.O_CREAT | os.O_RDWR) as fd:
        for number in reversed(range(20)):
            os.pwrite(fd, b"%03d" % number, number * 10_000)
        for number in range(20):
            same(os.pread(fd, 3, number * 10_000), b"%03d" % number)


@claim()
def vectors_are_written_and_read_in_order() -> None:
    with opened("f", os.O_CREAT | os.O_RDWR) as fd:
        same(os.writev(fd, [b"one", b"", b"two", b"three"]), 11)
        parts = [bytearray(3), bytearray(8)]
        same(os.preadv(fd, parts, 0), 11)
        same(parts, [bytearray(b"one"), bytearray(b"twothree")])


@claim()
def seek_end_knows_what_was_just_written() -> None:
    with opened("f", os.O_CREAT | os.O_RDWR) as fd:
        os.write(fd, b"x" * 777)
        same(os.lseek(fd, 0, os.SEEK_END), 777)
        os.ftruncate(fd, 5)
        same(os.lseek(fd, 0, os.SEEK_END), 5)
        refused(EINVAL, os.lseek, fd, -1, os.SEEK_SET)


@claim()
def data_and_holes_are_told_apart_or_all_is_data() -> None:
    with opened("f", os.O_CREAT | os.O_RDWR) as fd:
        os.pwrite(fd, b"x" * PAGE, 0)
        os.ftruncate(fd, 1 << 20)
        same(os.lseek(fd, 0, os.SEEK_DATA), 0)
        hole = os.lseek(fd, 0, os.SEEK_HOLE)
        holds(PAGE <= hole <= 1 << 20, f"the first hole should be between the data and the end, is {hole}")
        refused(ENXIO, os.lseek, fd, 1 << 20, os.SEEK_DATA)


@claim()
def a_hole_is_found() -> None:
    with opened("f", os.O_CREAT | os.O_RDWR) as fd:
        os.pwrite(fd, b"x" * PAGE, 0)
        os.ftruncate(fd, 16 << 20)
        os.fsync(fd)
        holds(os.lseek(fd, 0, os.SEEK_HOLE) < 16 << 20, "SEEK_HOLE should find the hole before the end")


@claim()
def offsets_beyond_4_gib_do_not_wrap() -> None:
    with opened("f", os.O_CREAT | os.O_RDWR) as fd:
        os.pwrite(fd, b"low", 0)
        os.pwrite(fd, b"high", 1 << 32)
        same((os.pread(fd, 3, 0), os.pread(fd, 4, 1 << 32)), (b"low", b"high"))
        same(os.fstat(fd).st_size, (1 << 32) + 4)


@claim()
def a_file_larger_than_any_is_EFBIG() -> None:
    with opened("f", os.O_CREAT | os.O_RDWR) as fd:
        refused((EFBIG, EINVAL), os.ftruncate, fd, (1 << 63) - 1)
        same(os.fstat(fd).st_size, 0)


@claim()
def what_is_mapped_is_what_is_in_the_file() -> None:
    make("f", b"mapped" + bytes(PAGE))
    with opened("f") as fd, mmap.mmap(fd, 0, prot=mmap.PROT_READ) as mapping:
        same(mapping[:6], b"mapped")


@claim()
def what_is_written_into_a_shared_mapping_is_in_the_file() -> None:
    make("f", bytes(3 * PAGE))
    with opened("f", os.O_RDWR) as fd, mmap.mmap(fd, 3 * PAGE) as mapping:
        mapping[100:105] = b"hello"
        mapping[2 * PAGE :] = b"z" * PAGE
        mapping.flush()
        same(os.pread(fd, 5, 100), b"hello")
    same(content("f")[-PAGE:], b"z" * PAGE)


@claim()
def what_is_written_into_a_mapping_is_in_the_file_after_unmapping() -> None:
    make("f", bytes(PAGE))
    with opened("f", os.O_RDWR) as fd:
        with mmap.mmap(fd, PAGE) as mapping:
            mapping[:4] = b"late"
        os.fsync(fd)
    same(content("f")[:4], b"late")


@claim()
def a_write_shows_in_a_shared_mapping() -> None:
    make("f", bytes(PAGE))
    with opened("f", os.O_RDWR) as fd, mmap.mmap(fd, PAGE) as mapping:
        os.pwrite(fd, b"seen", 10)
        same(mapping[10:14], b"seen")


@claim()
def a_private_mapping_leaves_the_file_alone() -> None:
    make("f", b"original")
    with opened("f", os.O_RDWR) as fd, mmap.mmap(fd, 8, flags=mmap.MAP_PRIVATE) as mapping:
        mapping[:] = b"changed!"
    same(content("f"), b"original")


@claim()
def two_processes_share_a_mapping() -> None:
    make("f", bytes(PAGE))

    def change() -> None:
        with opened("f", os.O_RDWR) as fd, mmap.mmap(fd, PAGE) as mapping:
            mapping[:5] = b"child"

    with opened("f", os.O_RDWR) as fd, mmap.mmap(fd, PAGE) as mapping:
        in_child(change)
        same(mapping[:5], b"child")


@claim()
def bytes_behind_the_end_of_a_mapped_file_stay_out_of_it() -> None:
    make("f", b"x" * 10)
    with opened("f", os.O_RDWR) as fd:
        with mmap.mmap(fd, 10) as mapping:
            mapping[9:] = b"y"
        os.ftruncate(fd, 20)
    same(content("f"), b"x" * 9 + b"y" + bytes(10))


@claim()
def a_mapping_beyond_the_end_of_the_file_is_SIGBUS() -> None:
    """Also where it was inside until the file was cut off."""
    make("f", b"x" * 2 * PAGE)
    with opened("f", os.O_RDWR) as fd, mmap.mmap(fd, 2 * PAGE) as mapping:
        same(mapping[PAGE], ord("x"))
        os.ftruncate(fd, 10)
        same((mapping[9], mapping[10]), (ord("x"), 0))
        child = os.fork()
        if child == 0:
            mapping[PAGE]
            os._exit(0)
        same(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), -signal.SIGBUS)


@claim()
def a_process_s_limit_of_file_sizes_cuts_a_write_and_then_refuses_it() -> None:
    def write() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60, 60))
        with opened("f", os.O_CREAT | os.O_WRONLY) as fd:
            written = os.write(fd, bytes(100))
            refused(EFBIG, os.write, fd, b"x")
            refused(EFBIG, os.ftruncate, fd, 61)
        return written

    same(in_child(write), 60)
    same(os.stat("f").st_size, 60)


@claim()
def several_processes_write_their_own_parts_of_one_file() -> None:
    make("f")
    part = 30_000

    def write(number: int) -> None:
        with opened("f", os.O_WRONLY) as fd:
            for start in range(0, part, 1000):
                os.pwrite(fd, b"%d" % number * 1000, number * part + start)

    together(*[lambda number=number: write(number) for number in range(WRITERS)])
    holds(content("f") == b"".join(b"%d" % number * part for number in range(WRITERS)), "every part should be whole")


@claim()
def a_reader_sees_a_writer_of_the_same_machine_at_once() -> None:
    make("f")
    with opened("f", os.O_WRONLY) as writer, opened("f") as reader:
        for number in range(20):
            write_all(writer, b"%02d" % number)
            same(os.pread(reader, 2, number * 2), b"%02d" % number)


@claim()
def fsync_and_fdatasync_succeed_on_files_and_directories() -> None:
    make("f", b"x")
    os.mkdir("d")
    for name in ("f", "d", "."):
        with opened(name) as fd:
            os.fsync(fd)
            os.fdatasync(fd)


@claim()
def what_was_written_by_a_killed_process_is_there() -> None:
    def write() -> None:
        fd = os.open("f", os.O_CREAT | os.O_WRONLY, 0o644)
        write_all(fd, b"x" * 50_000)
        os._exit(0)

    try:
        in_child(write)
    except AssertionError:
        pass  # it ended without a word, as it should
    same(content("f"), b"x" * 50_000)


@claim()
def sendfile_and_copy_of_a_file_are_the_file() -> None:
    import shutil

    source = random.Random(6).randbytes(300_000)
    make("f", source)
    shutil.copyfile("f", "copied")
    holds(content("copied") == source, "the copy should be the file")
    with opened("f") as fd, opened("sent", os.O_CREAT | os.O_WRONLY) as out:
        sent = 0
        while sent < len(source):
            sent += os.sendfile(out, fd, sent, len(source) - sent)
    holds(content("sent") == source, "what sendfile sent should be the file")


@claim()
def copy_file_range_copies_or_says_it_cannot() -> None:
    """Programs (cp, Python's shutil, Go) fall back on EOPNOTSUPP, EXDEV, EINVAL or ENOSYS."""
    make("f", b"0123456789" * 1000)
    with opened("f") as fd, opened("g", os.O_CREAT | os.O_WRONLY) as out:
        try:
            same(os.copy_file_range(fd, out, 10_000), 10_000)
        except OSError as error:
            holds(error.errno in (22, 95, 18, 38), f"refused with {error}")
            return
    same(content("g"), b"0123456789" * 1000)


@claim()
def a_file_of_a_thousand_small_appends_has_them_all() -> None:
    with opened("f", os.O_CREAT | os.O_WRONLY | os.O_APPEND) as fd:
        for number in range(1000):
            os.write(fd, b"%03d\n" % number)
    same(content("f"), b"".join(b"%03d\n" % number for number in range(1000)))


@claim(ORDINARY)
def truncate_needs_the_write_bit_and_ftruncate_the_descriptor() -> None:
    make("f", b"content", 0o600)
    with opened("f", os.O_RDWR) as fd:
        os.chmod("f", 0o400)
        refused(13, os.truncate, "f", 0)
        os.ftruncate(fd, 3)
    same(content("f"), b"con")
