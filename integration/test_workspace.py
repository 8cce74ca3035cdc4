"""A workspace through the kernel's own NFS client, with the mount options of the page this product grew from.

The client's user is uid 1000; the server runs as an ordinary user with another uid, whose the files are on the host.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.lab import KernelClient, Lab, Network, NfsServer, Result
from integration.lab.servers import LAB_ADDRESSES, SERVER_UID, start_nfsd

USER = 1000
MOUNT = "/mnt/workspace"
SQUASH = ("--uid", "1000", "--gid", "1000", "--durability", "host")


@dataclass
class Workspace:
    """A mounted export: `host` is the directory on the server, `run` runs a command in it as uid 1000."""

    network: Network
    server: NfsServer
    client: KernelClient
    host: Path

    def run(self, *argv: str, timeout: float = 60, cwd: str = MOUNT, uid: int = USER) -> Result:
        return self.client.run(argv, cwd=cwd, uid=uid, timeout=timeout, env={"HOME": "/tmp"})

    def shell(self, script: str, timeout: float = 60) -> str:
        """The output of a script that must succeed, run in the workspace with `set -e`."""
        result = self.run("bash", "-ec", script, timeout=timeout)
        assert result.returncode == 0, f"{script}\n-> {result.returncode}\n{result.stdout!r}\n{result.stderr!r}"
        return result.text


@pytest.fixture(scope="module")
def workspace(lab: Lab) -> Iterator[Workspace]:
    with lab.network() as network, lab.kernel_client(network) as client:
        host, other = lab.export_directory("workspace"), lab.export_directory("other-tenant")
        (other / "secret").write_text("of the other tenant")
        server = start_nfsd(network, lab.python, {"/tenant/volume": host, "/other/volume": other}, arguments=SQUASH)
        client.mount(MOUNT, export="/tenant/volume", options=server.options())
        yield Workspace(network, server, client, host)


def test_files_are_uid_1000s_in_the_client_and_the_servers_users_on_the_host(workspace: Workspace) -> None:
    assert workspace.shell("echo text >owned; mkdir owned.d; stat -c %u:%g owned owned.d") == "1000:1000\n1000:1000"
    assert (workspace.host / "owned").read_text() == "text\n"
    assert (workspace.host / "owned").stat().st_uid == SERVER_UID


def test_rename_link_symlink_chmod_truncate_and_append_do_what_a_local_disk_does(workspace: Workspace) -> None:
    workspace.shell(
        """
        mkdir basics; cd basics
        echo one >a; mv a b; test ! -e a; cat b | grep -q one
        ln b c; test "$(stat -c %h b)" = 2; test b -ef c
        ln -s b l; test "$(readlink l)" = b; cat l | grep -q one
        ln -s ../nowhere dangling; test -L dangling; ! cat dangling 2>/dev/null
        chmod 640 b; test "$(stat -c %a c)" = 640
        chmod 4755 b; test "$(stat -c %a b)" = 4755
        chmod 000 b; ! cat b 2>/dev/null; chmod 600 b; cat b >/dev/null
        truncate -s 3 b; test "$(cat b)" = one; truncate -s 100000 b; test "$(stat -c %s c)" = 100000
        echo more >>b; test "$(tail -c 5 b)" = more
        mkfifo f; test -p f
        touch -d @1000000000.123456789 b; test "$(stat -c %.9Y b)" = 1000000000.123456789
        mkdir -p x/y/z; mv x/y q; test -d q/z; ! rmdir q 2>/dev/null; rmdir q/z q
        """
    )
    mode = (workspace.host / "basics" / "b").stat().st_mode
    assert not mode & (stat.S_ISUID | stat.S_ISGID)  # never a setuid program of the server's user on the host


def test_a_directory_of_10000_files_is_listed_whole_and_emptied(workspace: Workspace) -> None:
    count = "mkdir many; cd many; seq -f %06g 10000 | xargs touch; ls | wc -l; ls -f | sort -u | wc -l"
    assert workspace.shell(count, 180).split() == ["10000", "10002"]
    workspace.client.drop_caches()
    assert workspace.shell("ls -l many | wc -l; rm -rf many; test ! -e many", 180) == "10001"


def test_git_clone_and_status_work_and_the_clone_is_sound(workspace: Workspace) -> None:
    output = workspace.shell(
        """
        export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        git init -q -b main origin; cd origin
        for d in $(seq 20); do mkdir d$d; for f in $(seq 20); do echo $d.$f >d$d/f$f; done; done
        git add .; git commit -qm first; cd ..
        git clone -q origin copy; cd copy; git status --short; git fsck --full 2>/dev/null; git log --oneline | wc -l
        echo changed >>d3/f4; git status --short; git commit -qam second; git gc -q; git fsck --full
        """,
        180,
    )
    assert output.split("\n") == ["1", " M d3/f4"]


def test_a_virtual_environment_is_made_and_runs(workspace: Workspace) -> None:
    assert workspace.shell("/usr/bin/python3 -m venv ve; ve/bin/python -c 'import pip; print(6 * 7)'", 180) == "42"


def test_sqlite_keeps_its_journal_and_its_data(workspace: Workspace) -> None:
    script = """
import sqlite3
db = sqlite3.connect("data.db")
db.execute("pragma journal_mode=delete"); db.execute("pragma synchronous=full")
db.execute("create table t (a integer primary key, b text)")
for n in range(50):
    with db: db.execute("insert into t (b) values (?)", ("x" * n,))
try:
    with db:
        db.execute("delete from t"); raise KeyError
except KeyError: pass
db.close(); db = sqlite3.connect("data.db")
print(db.execute("select count(*), sum(length(b)) from t").fetchone(), db.execute("pragma integrity_check").fetchone())
"""
    result = workspace.run("python3", "-c", script)
    assert result.text == "(50, 1225) ('ok',)", result.stderr


def test_tar_brings_modes_times_links_and_contents_through_unchanged(workspace: Workspace) -> None:
    workspace.shell(
        """
        mkdir /tmp/src; cd /tmp/src; mkdir -m 2755 sub; head -c 3000000 /dev/urandom >sub/big; echo x >sub/tool
        chmod 755 sub/tool; ln sub/tool hard; ln -s sub/tool soft; touch -d '1999-12-31 23:59:59.5' sub/big
        mkfifo pipe; chmod 555 sub
        mkdir "$OLDPWD"/tree; tar cf /tmp/src.tar .; tar xpf /tmp/src.tar -C "$OLDPWD"/tree
        cd "$OLDPWD"/tree; tar df /tmp/src.tar
        test hard -ef sub/tool; test "$(stat -c %a sub)" = "$(stat -c %a /tmp/src/sub)"
        chmod 755 sub; chmod 755 /tmp/src/sub
        """
    )
    original = workspace.run("sha256sum", "/tmp/src/sub/big").text.split()[0]
    workspace.client.drop_caches()
    assert workspace.run("sha256sum", "tree/sub/big").text.split()[0] == original


def test_another_tenants_volume_is_not_reached_by_name_link_or_dots(workspace: Workspace) -> None:
    workspace.shell(
        "ln -s ../other-tenant/secret sneak; ! cat sneak 2>/dev/null; ! cat ../other-tenant/secret 2>/dev/null"
    )
    for export in ("/tenant/../other/volume", "/tenant/volume/../../other/volume", "/other", "/tenant"):
        with pytest.raises(OSError):
            workspace.client.mount("/mnt/elsewhere", export=export, options=workspace.server.options())


def test_a_read_only_export_answers_erofs(workspace: Workspace, lab: Lab) -> None:
    host = lab.export_directory("read-only")
    (host / "there").write_text("read me")
    (host / "there").chmod(0o644)
    server = start_nfsd(workspace.network, lab.python, {"/t/ro": host}, port=2050, arguments=[*SQUASH, "--read-only"])
    workspace.client.mount("/mnt/ro", export="/t/ro", options=server.options())
    assert workspace.run("cat", "there", cwd="/mnt/ro").text == "read me"
    for command in (["touch", "new"], ["rm", "there"], ["mkdir", "d"]):
        result = workspace.run(*command, cwd="/mnt/ro")
        assert result.returncode != 0
        assert b"Read-only file system" in result.stderr
    # Refused when it is opened, not when it is closed, where nobody would look.
    assert workspace.run("sh", "-c", "echo x >>there", cwd="/mnt/ro").returncode != 0
    assert os.listdir(host) == ["there"]


def test_a_peer_that_is_neither_the_host_nor_allowed_gets_no_answer(workspace: Workspace, lab: Lab) -> None:
    host = lab.export_directory("private")
    server = start_nfsd(workspace.network, lab.python, {"/t/p": host}, port=2051, allow="192.0.2.1")
    with pytest.raises(OSError):
        workspace.client.mount("/mnt/private", export="/t/p", options=server.options())
    with workspace.network.connect(server.address, server.port) as host_itself:  # the host's own address may
        assert host_itself.fileno() >= 0
    assert LAB_ADDRESSES not in server.process.output()
