"""Directories: what a listing shows, large ones, changes while it is read, deep ones, link counts."""

from __future__ import annotations

import os
import random
import stat
from contextlib import closing
from errno import EEXIST, EINVAL, EMLINK, ENAMETOOLONG, ENOENT, ENOTDIR

from integration.posix.claims import claim
from integration.posix.tools import (
    KINDS,
    NAME_BYTES_MAX,
    PATH_BYTES_MAX,
    Directory,
    content,
    holds,
    make,
    mode_of,
    opened,
    refused,
    same,
    together,
)

LARGE = 10_000
MANY = 1000
DEPTH = 60


@claim()
def a_new_directory_is_empty_with_two_links_and_dots() -> None:
    os.mkdir("d")
    same((os.listdir("d"), os.stat("d").st_nlink), ([], 2))
    same((os.stat("d/.").st_ino, os.stat("d/..").st_ino), (os.stat("d").st_ino, os.stat(".").st_ino))


@claim()
def links_count_directories_inside() -> None:
    os.mkdir("d")
    for number in range(20):
        os.mkdir(f"d/{number}")
        make(f"d/f{number}")
    same(os.stat("d").st_nlink, 22)


@claim()
def mkdir_of_what_is_there_is_EEXIST_also_with_dots() -> None:
    os.mkdir("d")
    for name in ("d", "d/", "d/.", "d/..", "."):
        refused(EEXIST, os.mkdir, name)


@claim()
def mkdir_with_a_trailing_slash_works() -> None:
    os.mkdir("d/")
    same(os.listdir("."), ["d"])


@claim()
def a_place_told_in_a_directory_is_found_again_in_any_order() -> None:
    for number in range(MANY):
        make(f"f{number}")
    with closing(Directory(".")) as directory:
        places, names = [directory.tell()], []
        while (name := directory.read()) is not None:
            names.append(name)
            places.append(directory.tell())
        same(len(set(names)), MANY + 2)
        following = dict(zip(places, [*names, None], strict=True))
        for place in random.Random(1).sample(places, len(places)):
            directory.seek(place)
            same(directory.read(), following[place])
        for name in names[MANY // 2 : MANY // 2 + 50]:
            if name not in (".", ".."):
                os.unlink(name)
        directory.seek(places[MANY // 2 + 100])
        same(directory.read(), names[MANY // 2 + 100])


@claim()
def a_directory_read_anew_from_the_start_shows_what_came_and_went() -> None:
    make("a")
    with closing(Directory(".")) as directory:
        while directory.read() is not None:
            pass
        make("b")
        os.unlink("a")
        directory.rewind()
        names = set()
        while (name := directory.read()) is not None:
            names.add(name)
    same(names, {".", "..", "b"})


@claim()
def scandir_tells_every_kind() -> None:
    for name, create in KINDS.items():
        create(name)
    with os.scandir(".") as listing:
        found = {entry.name: stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode) for entry in listing}
    with os.scandir(".") as listing:
        kinds = {
            e.name: (e.is_file(follow_symlinks=False), e.is_dir(follow_symlinks=False), e.is_symlink()) for e in listing
        }
    same(set(found), set(KINDS))
    for name in KINDS:
        same(found[name], stat.S_IFMT(os.lstat(name).st_mode), name)
    same(kinds["a_file"], (True, False, False))
    same(kinds["a_directory"], (False, True, False))
    same(kinds["a_symlink"], (False, False, True))
    same(kinds["a_fifo"], (False, False, False))


@claim()
def listed_inode_numbers_are_the_files() -> None:
    for number in range(20):
        make(f"f{number}")
    with os.scandir(".") as listing:
        for entry in listing:
            same(entry.inode(), os.lstat(entry.name).st_ino, entry.name)


@claim()
def ten_thousand_names_are_listed_once_each() -> None:
    make("0")
    for number in range(1, LARGE):
        os.link("0", str(number))
    names = os.listdir(".")
    same((len(names), len(set(names))), (LARGE, LARGE))
    same(os.stat("0").st_nlink, LARGE)
    for name in names:
        os.unlink(name)
    same(os.listdir("."), [])


@claim()
def a_listing_goes_on_while_what_it_showed_is_removed() -> None:
    """As rm -r does."""
    for number in range(MANY):
        os.symlink("x", f"{number}")
    removed = 0
    with os.scandir(".") as listing:
        for entry in listing:
            os.unlink(entry.name)
            removed += 1
    same((removed, os.listdir(".")), (MANY, []))


@claim()
def a_listing_goes_on_while_names_are_made_and_shows_the_old_ones_once() -> None:
    for number in range(MANY):
        os.symlink("x", f"old{number}")
    seen = []
    with os.scandir(".") as listing:
        for number, entry in enumerate(listing):
            seen.append(entry.name)
            if number < MANY:
                os.symlink("x", f"new{number}")
    old = [name for name in seen if name.startswith("old")]
    same((len(old), len(set(old))), (MANY, MANY))
    same(len(set(seen)), len(seen), "names shown, none twice")


@claim()
def a_listing_goes_on_while_all_is_renamed() -> None:
    for number in range(200):
        os.symlink("x", f"a{number}")
    with os.scandir(".") as listing:
        for entry in listing:
            if entry.name.startswith("a"):
                os.rename(entry.name, f"b{entry.name}")
    same(sorted(os.listdir(".")), sorted(f"ba{number}" for number in range(200)))


@claim()
def two_listings_of_one_directory_do_not_disturb_each_other() -> None:
    for number in range(300):
        os.symlink("x", f"{number}")
    with os.scandir(".") as one, os.scandir(".") as two:
        pairs = list(zip(one, two, strict=True))
    same(len({entry.name for entry, _ in pairs}), 300)
    same(len({entry.name for _, entry in pairs}), 300)


@claim()
def a_listing_rewound_shows_what_came_meanwhile() -> None:
    with opened(".", os.O_RDONLY | os.O_DIRECTORY) as fd:
        same(os.listdir(fd), [])
        make("f")
        same(os.listdir(fd), ["f"])
        os.unlink("f")
        same(os.listdir(fd), [])


@claim()
def a_name_made_is_listed_at_once_and_a_name_removed_is_not() -> None:
    for number in range(50):
        make(f"f{number}")
        same(len(os.listdir(".")), number + 1)
    for number in range(50):
        os.unlink(f"f{number}")
        same(len(os.listdir(".")), 49 - number)


@claim()
def listings_during_changes_by_another_process_are_never_wrong_about_what_stays() -> None:
    for number in range(100):
        os.symlink("x", f"stays{number}")

    def change() -> None:
        for number in range(150):
            os.symlink("x", f"comes{number}")
            os.unlink(f"comes{number}")

    def look() -> None:
        for _ in range(30):
            names = os.listdir(".")
            same(sum(name.startswith("stays") for name in names), 100, "names that stay")
            same(len(set(names)), len(names), "names, none twice")

    together(change, look)


@claim()
def several_processes_fill_one_directory() -> None:
    def fill(who: int) -> None:
        for number in range(100):
            make(f"{who}.{number}")

    together(*[lambda who=who: fill(who) for who in range(3)])
    same(len(os.listdir(".")), 300)


@claim()
def several_processes_make_the_same_directory_and_one_does() -> None:
    def race() -> int:
        won = 0
        for number in range(20):
            try:
                os.mkdir(f"d{number}")
                make(f"d{number}/won.{os.getpid()}")
                won += 1
            except FileExistsError:
                pass
        return won

    together(race, race, race)
    for number in range(20):
        same(len(os.listdir(f"d{number}")), 1, "winners")


@claim()
def several_processes_remove_the_same_files_and_each_goes_once() -> None:
    for number in range(50):
        os.symlink("x", f"f{number}")

    def race() -> None:
        for number in range(50):
            try:
                os.unlink(f"f{number}")
                os.symlink("x", f"removed{number}.{os.getpid()}")
            except FileNotFoundError:
                pass

    together(race, race)
    same(len(os.listdir(".")), 50)


@claim()
def makedirs_by_several_processes_at_once_all_succeed() -> None:
    def race() -> None:
        for number in range(10):
            os.makedirs(f"{number}/a/b/c", exist_ok=True)

    together(race, race, race)
    same(sum(len(names) for _path, names, _files in os.walk(".")), 40)


@claim()
def a_deep_tree_is_made_walked_and_moved() -> None:
    path = "/".join(["d" * 20] * DEPTH)
    os.makedirs(path)
    make(f"{path}/f", b"deep")
    same(sum(1 for _ in os.walk(".")), DEPTH + 1)
    os.rename("d" * 20, "moved")
    moved = path.replace("d" * 20, "moved", 1)
    same(content(f"{moved}/f"), b"deep")


@claim()
def a_path_of_4095_bytes_is_walked() -> None:
    component = "c" * 254
    here = "./"
    while PATH_BYTES_MAX - 1 - len(here) > NAME_BYTES_MAX:
        here += component + "/"
        os.mkdir(here)
    name = here + "n" * (PATH_BYTES_MAX - 1 - len(here))
    make(name, b"far")
    same((len(name), content(name)), (4095, b"far"))
    refused(ENAMETOOLONG, os.open, name + "x", os.O_RDONLY)


@claim()
def a_tree_deeper_than_any_path_is_made_step_by_step() -> None:
    for _ in range(30):
        os.mkdir("x" * 200)
        os.chdir("x" * 200)
    make("bottom", b"here")
    same(content("bottom"), b"here")
    for _ in range(30):
        os.chdir("..")
    same(os.listdir("."), ["x" * 200])


@claim()
def getcwd_names_the_way_here() -> None:
    os.makedirs("a/b")
    before = os.getcwd()
    os.chdir("a/b")
    same(os.getcwd(), f"{before}/a/b")
    os.rename("../../a", "../../z")
    same(os.getcwd(), f"{before}/z/b")


@claim()
def a_directory_replaced_by_a_file_of_the_same_name_is_a_file() -> None:
    os.mkdir("x")
    os.listdir("x")
    os.rmdir("x")
    make("x", b"file")
    same(content("x"), b"file")
    refused(ENOTDIR, os.listdir, "x")
    os.unlink("x")
    os.mkdir("x")
    same(os.listdir("x"), [])


@claim()
def three_hundred_directories_in_one_have_their_links() -> None:
    try:
        for number in range(300):
            os.mkdir(f"{number}")
    except OSError as error:
        same(error.errno, EMLINK)
    same(os.stat(".").st_nlink, len(os.listdir(".")) + 2)


@claim()
def an_empty_name_and_dots_are_not_made_or_removed() -> None:
    refused(ENOENT, os.mkdir, "")
    refused(EEXIST, os.mkdir, "..")
    refused(EINVAL, os.rmdir, ".")
    same(os.listdir("."), [])


@claim()
def mkdir_gives_the_mode_asked_for() -> None:
    os.umask(0)
    for mode in (0o000, 0o111, 0o500, 0o700, 0o755, 0o777):
        os.mkdir(f"d{mode:o}", mode)
        same(mode_of(f"d{mode:o}"), mode)


@claim()
def the_sizes_of_directories_are_not_zero_when_they_hold_names() -> None:
    os.mkdir("d")
    make("d/f")
    holds(os.stat("d").st_size > 0 or os.stat("d").st_nlink == 2, "a directory should have a size")
