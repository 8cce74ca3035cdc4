"""What our mounts do otherwise than a local disk: each difference with its claims, where it is seen, and its reason.

The test compares with this list in both directions: a claim that fails and is not here is a bug, one that is here and
holds is a line to delete. `docs/posix-differences.md` is made from it (`python3 -m integration.posix differences`).
"""

from __future__ import annotations

from dataclasses import dataclass

LOCAL = ("local-root", "local-user")
MAPPED = ("mount-mapped",)
MOUNTS = ("mount-root", "mount-user", *MAPPED)
TWO = ("two-clients",)


@dataclass(frozen=True)
class Difference:
    """`seen` is what a program notices; `whose` keeps it from being otherwise: the protocol, the client or us.

    With `always` false a claim of it may hold too: it depends on how long ago something was cached.
    """

    title: str
    whose: str
    seen: str
    reason: str
    claims: tuple[str, ...]
    ways: tuple[str, ...] = MOUNTS
    always: bool = True


DIFFERENCES = (
    Difference(
        "A file deleted while it is open keeps a name",
        "protocol",
        "A file that is unlinked while a process has it open shows as `.nfs…` in its directory, which cannot be "
        "removed until the file is closed; fstat says one link instead of none.",
        "NFSv3 has no open, so a server deletes at once. The Linux client renames the file to `.nfs…` instead (silly "
        "rename) and deletes it at the last close. Reading, writing, chmod and truncate of the open file all work.",
        (
            "unlinking.an_unlinked_open_file_has_no_links",
            "unlinking.a_directory_is_empty_once_its_open_file_is_unlinked",
        ),
    ),
    Difference(
        "renameat2 has no flags",
        "protocol",
        "RENAME_NOREPLACE and RENAME_EXCHANGE are EINVAL; programs that use them (mv -n, systemd) fall back to link, "
        "or to a check and a rename.",
        "NFSv3's RENAME replaces the target, and the Linux client refuses every flag itself (nfs_rename).",
        ("renaming.noreplace_refuses_a_taken_name", "renaming.exchange_swaps_two_names"),
    ),
    Difference(
        "A removed directory that is open is stale",
        "protocol",
        "Listing a directory through a descriptor after its rmdir is ESTALE; on a local disk it is ENOENT or empty.",
        "A handle of something removed is NFS3ERR_STALE (RFC 1813 section 2.6): nobody told the server it is open.",
        ("unlinking.rmdir_of_an_open_directory_works_and_it_lists_nothing",),
    ),
    Difference(
        "What another client removes is gone",
        "protocol",
        "A file that one client has open, and another deletes or renames over, is ESTALE at the next read that needs "
        "the server. Within one client (that is: one host, however many containers) it stays readable.",
        "The silly rename protects from the client's own processes only; a server without OPEN cannot know of others.",
        ("coherence.a_file_open_here_and_replaced_there_is_still_read_here",),
        TWO,
        always=False,
    ),
    Difference(
        "stat trusts a cache for some seconds",
        "client",
        "A name looked up a moment ago, found or not, is answered from the client's cache while another client removes "
        "or makes it: 3 to 60 seconds. Opening, listing and exclusive creation ask the server and are right at once.",
        "Attribute caching (nfs(5), acregmin and acdirmin): close-to-open consistency is all that NFSv3 promises. "
        "`actimeo=0` gives it up, and the speed with it.",
        (
            "coherence.stat_of_what_was_removed_there_a_moment_ago_is_ENOENT",
            "coherence.a_name_looked_for_in_vain_is_seen_as_soon_as_it_is_made_there",
        ),
        TWO,
        always=False,
    ),
    Difference(
        "chown to another user is done in appearance only",
        "server",
        "chown and chgrp to foreign ids succeed, and the file is shown as the execution's user's as before.",
        "A volume in `squash` has one owner, and the daemon is an ordinary user who can give nothing away. Success "
        "lets `tar x`, `cp -a` and installers go on; where chown is set to `deny`, it is EPERM.",
        ("modes.chown_to_another_is_EPERM",),
        ("mount-user",),
    ),
    Difference(
        "Root gives nothing away",
        "server",
        "What root chowns to somebody stays root's.",
        "As above, for an execution whose container user is root.",
        ("modes.chown_gives_a_file_away",),
        ("mount-root",),
    ),
    Difference(
        "An open file is lost with the permission for it",
        "protocol",
        "Who is not a file's owner, and loses the permission to read or write it while he has it open, gets EACCES at "
        "the next read or write that needs the server. The owner goes on, as on a local disk.",
        "NFSv3 has no open: the server sees a READ by somebody who may not read. It lets the owner through whatever "
        "the mode, as RFC 1813 section 4.4 advises.",
        (
            "switching.another_goes_on_reading_an_open_file_that_was_closed_to_him",
            "switching.another_goes_on_writing_an_open_file_that_was_closed_to_him",
        ),
        MAPPED,
        always=False,
    ),
    Difference(
        "There are no devices",
        "server",
        "mknod of a block or character device is EPERM for root too. FIFOs and sockets are made.",
        "The daemon is an ordinary user and cannot; and a workspace is no place for devices.",
        ("volume.root_makes_devices",),
        ("mount-root", *MAPPED),
    ),
    Difference(
        "There are no unnamed files",
        "protocol",
        "open with O_TMPFILE is EOPNOTSUPP; programs (Python's tempfile, glibc) then make a named one and unlink it.",
        "Creating is by name in NFSv3.",
        ("opening.an_unnamed_file_is_made_by_tmpfile",),
    ),
    Difference(
        "No space is reserved, no hole punched or found",
        "protocol",
        "fallocate(2) is EOPNOTSUPP in every mode (posix_fallocate of the C library writes zeros instead), and "
        "SEEK_HOLE finds only the end of the file. Sparse files themselves work: what is not written takes no room.",
        "ALLOCATE, DEALLOCATE and SEEK came with NFSv4.2.",
        ("volume.fallocate_reserves_without_writing", "volume.a_hole_is_punched", "data.a_hole_is_found"),
    ),
    Difference(
        "There are no extended attributes",
        "protocol",
        "setxattr is ENOTSUP, and so are POSIX ACLs; cp -a and rsync go on without.",
        "NFSv3 has no calls for them.",
        ("volume.user_attributes_are_kept",),
    ),
    Difference(
        "Times begin in 1970",
        "protocol",
        "A time before 1970 is stored as 1970.",
        "nfstime3 is unsigned (RFC 1813 section 2.5): seconds from 1970 to 2106. The client clamps what is outside.",
        ("stamps.times_before_1970_are_kept",),
    ),
    Difference(
        "Reading what is cached leaves atime alone",
        "client",
        "A file read from the client's page cache keeps its access time; one read over the wire gets a new one.",
        'The access time is the server\'s, and it hears nothing of cached reads (nfs(5), "atime").',
        ("stamps.a_read_past_a_change_moves_atime",),
    ),
)


def expected(way: str) -> dict[str, Difference]:
    """The claims that do not hold in this way, and why."""
    return {claim: each for each in DIFFERENCES if way in each.ways for claim in each.claims}


def document() -> str:
    """`docs/posix-differences.md`."""
    lines = [
        "# Where a workspace differs from a local disk",
        "",
        "Made by `python3 -m integration.posix differences` from `integration/posix/differences.py`; edit that.",
        "",
        "The project's POSIX suite (`integration/posix`) runs on a local disk and on mounts of the Linux kernel's NFS",
        "client. Everything it claims holds on both, but for what is listed here. *protocol*: NFSv3 cannot say it,",
        "every server is like that. *client*: the Linux client decides it. *server*: ours decides it.",
        "",
        "Claims that need several users (foreign files, sticky directories, supplementary groups) are made on the",
        "local disk and on a `mapped` volume: a squashed one has one user.",
        "",
    ]
    for each in DIFFERENCES:
        lines += [f"## {each.title}", "", f"*{each.whose}*. {each.seen}", "", each.reason, "", "Claims:", ""]
        lines += [f"- `{claim}`" for claim in each.claims]
        if each.ways != MOUNTS:
            lines += ["", f"Seen in: {', '.join(each.ways)}."]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
