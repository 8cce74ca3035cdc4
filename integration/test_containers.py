"""Agents' containers, as the daemon runs them on a real Docker Engine: what they are made with, and what they can do in
a workspace that the engine's kernel mounts from us with the exact options of the page this product grew from.

The agents' commands are the scripts below, sent by the scripted model and run by bootstrap as uid 1000. A container
costs seconds in an emulated guest, so one agent makes many claims, each of them a command, and each a test.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration.daemon import Daemon, Execution, agent, daemon_beside, say, shell
from integration.lab import DockerEngine, Lab, LabError, NfsMount
from integration.lab.preparation import BUSYBOX_IMAGE, PYTHON_IMAGE
from integration.lab.servers import SERVER_UID
from integration.lab.tree import Tree

pytestmark = pytest.mark.usefixtures("nothing_is_left")

MEBI = 1 << 20
SUBNET = "172.31.64.0/24"  # of the range that the lab routes to the engine
PROMPT = "a-prompt-that-belongs-neither-into-arguments-nor-into-the-environment"

BASICS = """
echo one >a; mv a b; test ! -e a; cat b | grep -q one
ln b c; test "$(stat -c %h b)" = 2; test b -ef c
ln -s b l; test "$(readlink l)" = b; grep -q one l
chmod 640 b; test "$(stat -c %a c)" = 640
chmod 4755 b; test "$(stat -c %a b)" = 4755
chmod 000 b; ! cat b 2>/dev/null; chmod 600 b; cat b >/dev/null
truncate -s 3 b; test "$(cat b)" = one; truncate -s 100000 b; test "$(stat -c %s c)" = 100000
echo more >>b; test "$(tail -c 5 b)" = more
mkdir -p x/y/z; mv x/y q; test -d q/z; ! rmdir q 2>/dev/null; rm -r q x
echo mine >owned; stat -c %u:%g owned .; id -u; id -g
"""

MANY = """
cd many; ls | wc -l; ls -f | sort -u | wc -l
mkdir ../made; cd ../made
python3 -c 'for n in range(300): open(f"{n:06}", "x").close()'
ls | wc -l; rm -r ../made
"""

GIT = """
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q -b main origin; cd origin
mkdir d; for f in $(seq 20); do echo $f >d/f$f; done
git add .; git commit -qm first; cd ..
git clone -q origin copy; cd copy; git status --short; git log --oneline | wc -l
echo changed >>d/f4; git status --short; git commit -qam second; git fsck --full
"""

VENV = "python3 -m venv --without-pip venv; venv/bin/python -c 'import sys; print(sys.prefix)'"

SQLITE = """
python3 - <<END
import os, sqlite3
db = sqlite3.connect("data.db")
db.execute("pragma journal_mode=delete"); db.execute("pragma synchronous=full")
db.execute("create table t (a integer primary key, b text)")
for n in range(20):
    with db: db.execute("insert into t (b) values (?)", ("x" * n,))
try:
    with db:
        db.execute("delete from t")
        assert os.path.exists("data.db-journal")
        raise KeyError
except KeyError: pass
db.close(); db = sqlite3.connect("data.db")
print(db.execute("select count(*), sum(length(b)) from t").fetchone(), db.execute("pragma integrity_check").fetchone())
db.close()
END
"""

TAR = """
mkdir -p /tmp/src/sub; cd /tmp/src; head -c 1000000 /dev/urandom >sub/big; echo x >sub/tool; chmod 755 sub/tool
ln sub/tool hard; ln -s sub/tool soft; touch -d '1999-12-31 23:59:59.5' sub/big; chmod 555 sub
tar cf /tmp/src.tar .; mkdir /workspace/tree; tar xpf /tmp/src.tar -C /workspace/tree; cd /workspace/tree
tar df /tmp/src.tar; test hard -ef sub/tool; stat -c %a sub; chmod 755 sub
"""

# rsync and the libraries it needs lie in the volume (see `put_program`): the image has none.
RSYNC = """
rsync() { LD_LIBRARY_PATH=/workspace/tools/lib/x86_64-linux-gnu /workspace/tools/bin/rsync "$@"; }
mkdir -p /tmp/from/sub; head -c 300000 /dev/urandom >/tmp/from/sub/big; ln /tmp/from/sub/big /tmp/from/hard
ln -s sub/big /tmp/from/soft; echo x >/tmp/from/tool; chmod 751 /tmp/from/tool; chmod 2710 /tmp/from/sub
touch -d '1999-12-31 23:59:59.5' /tmp/from/sub/big; touch -d @1000000000 /tmp/from/sub /tmp/from
rsync -aH /tmp/from/ to/; rsync -aHi --checksum /tmp/from/ to/; rsync -aH to/ /tmp/back/
test to/hard -ef to/sub/big; cmp /tmp/back/hard /tmp/from/hard; readlink to/soft; stat -c '%a %.9Y' to/sub to/sub/big
echo more >>/tmp/from/tool; rm /tmp/from/soft; rsync -aHi --delete /tmp/from/ to/ | grep -v ' ./$'
"""

# An unprivileged mount(2), and a TCP connection to the gateway, each told by its outcome.
REACH = """
python3 - <<END
import ctypes, errno, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
options = b"addr=@HOST@,nfsvers=3,proto=tcp,nolock,port=@PORT@,mountport=@PORT@,mountproto=tcp"
libc.mount(b":@OTHER@", b"/tmp", b"nfs", 0, options)
print("mount:", errno.errorcode[ctypes.get_errno()])
null = struct.pack(">11I", 0x80000028, 1, 0, 2, 100003, 3, 0, 0, 0, 0, 0)
try:
    with socket.create_connection(("@HOST@", @PORT@), 20) as peer:
        peer.sendall(null)
        print("answer:", peer.recv(100))
except ConnectionError:  # the connection may be cut while connect(2) or sendall is still on its way out
    print("answer: cut")
END
"""

BY_PATH = """
ln -s ../../../../@OTHER@/data/secret sneak; ! cat sneak 2>/dev/null
ln -s /proc/1/root/@OTHER@ sneak2; ! ls sneak2/ 2>/dev/null
! cat /workspace/../@OTHER@/data/secret 2>/dev/null
cd /workspace/..; ls -d workspace
"""

READ_ONLY = """
cat /reference/there
for try in 'touch /reference/new' 'rm /reference/there' 'mkdir /reference/d' 'chmod 777 /reference/there'; do
  ! $try 2>>/tmp/said; done
! (echo x >>/reference/there) 2>>/tmp/said
grep -c 'Read-only file system' /tmp/said
"""

QUOTA = """
df --output=size -B1 /small | tail -1
! head -c 20000000 /dev/zero >/small/big 2>/tmp/said || true
grep -o 'No space left on device' /tmp/said | sort -u
rm /small/big; echo fits >/small/fits; cat /small/fits
"""

# Whose files are, in a volume that tells users apart; in the workspace, which does not, giving away seems to work.
MAPPED = """
cd /shared; echo mine >mine; echo for all >open; stat -c %u:%g . mine
chmod 600 mine; chmod 666 open; chmod 1777 .; chown 0 /workspace
! chown 0 mine 2>/tmp/said; grep -o 'Operation not permitted' /tmp/said
"""

# The same volume, from an execution of another user.
ANOTHERS = """
cd /shared; id -u; stat -c %u:%g . mine; cat open; ! cat mine 2>/tmp/said; ! rm -f open 2>>/tmp/said
echo his >his; echo more >>open; stat -c %u his; grep -c -e 'Permission denied' -e 'Operation not permitted' /tmp/said
"""

STEPS = {
    "basics": BASICS, "many": MANY, "git": GIT, "venv": VENV, "sqlite": SQLITE, "tar": TAR, "rsync": RSYNC,
    "reach": REACH, "path": BY_PATH, "read-only": READ_ONLY, "quota": QUOTA, "mapped": MAPPED,
}  # fmt: skip


@pytest.fixture(scope="module")
def daemon(lab: Lab, docker_engine: DockerEngine) -> Iterator[Daemon]:
    home = lab.export_directory("containers")
    make_untranslated_network(docker_engine)
    with daemon_beside(
        docker_engine, home, storage={"mount_profile": "compat"}, runtime={"network_subnet": SUBNET}
    ) as daemon:
        daemon.start()
        yield daemon
        daemon.stop()


def make_untranslated_network(engine: DockerEngine) -> None:
    """The daemon's network, already there, and without address translation: so the gateway sees a container's own
    address, as it does where it is on the engine's own host, and not the engine's, which may speak to it."""
    engine.api.call("POST", "/networks/create", {
        "Name": "aegis", "IPAM": {"Config": [{"Subnet": SUBNET, "Gateway": SUBNET.replace(".0/24", ".1")}]},
        "Options": {
            "com.docker.network.bridge.enable_icc": "false",
            "com.docker.network.bridge.enable_ip_masquerade": "false",
        },
    })  # fmt: skip


def fill(directory: Path, count: int) -> None:
    """Files that are there before the volume is attached: an emulated guest takes minutes to make ten thousand."""
    directory.mkdir()
    for number in range(count):
        (directory / f"{number:06}").touch()
    if os.geteuid() == 0:
        for path in (directory, *directory.iterdir()):
            os.chown(path, SERVER_UID, SERVER_UID)


def put_program(name: str, directory: Path, scratch: Path) -> None:
    """A program of this machine and its libraries, in `directory`/bin and lib: it runs and maps them from there."""
    tree = Tree(scratch)
    tree.programs(name)
    shutil.copytree(scratch / "usr", directory, symlinks=True)
    if os.geteuid() == 0:
        for path in (directory, *directory.rglob("*")):
            os.lchown(path, SERVER_UID, SERVER_UID)


@dataclass
class Worked:
    """An agent that has done every step, and the volumes it had and had not."""

    execution: Execution
    workspace: dict[str, Any]
    other: dict[str, Any]
    shared: dict[str, Any]

    def output(self, step: str) -> str:
        """What a step printed; it has to have succeeded."""
        done = self.execution.of("dispatch.completed")[list(STEPS).index(step)]
        assert done["exit_code"] == 0, json.dumps(done, indent=1)
        return str(done["stdout"]).strip()


@pytest.fixture(scope="module")
def worked(lab: Lab, docker_engine: DockerEngine, daemon: Daemon) -> Worked:
    """One container, uid 1000, `mount_profile: compat`, with a workspace, a small volume and a read-only one."""

    def volume(name: str, **more: object) -> dict[str, Any]:
        request = {"name": name, "storage_class": "persistent", **more}
        made: dict[str, Any] = daemon.call("POST", "/v1/volumes", request).ok()
        return made

    workspace, other, reference = volume("workspace"), volume("other"), volume("reference")
    small, shared = volume("small", size_limit_bytes=8 * MEBI), volume("shared")
    daemon.call("PUT", f"/v1/volumes/{reference['id']}/files/there", b"read me\n").ok()
    fill(daemon.volume_directory(workspace) / "many", 10_000)
    put_program("rsync", daemon.volume_directory(workspace) / "tools", lab.scratch / "rsync")
    daemon.call("PUT", f"/v1/volumes/{other['id']}/files/secret", b"of somebody else\n").ok()
    words = {"@HOST@": docker_engine.gateway, "@PORT@": "2049", "@OTHER@": str(other["export_path"])}
    steps = []
    for script in STEPS.values():
        for word, value in words.items():
            script = script.replace(word, value)
        steps.append(shell(script))
    daemon.script("worker", [*steps, say("done")])
    volumes: list[dict[str, Any]] = [
        {"name": "workspace", "mount_path": "/workspace", "source": {"volume_id": workspace["id"]}},
        {"name": "small", "mount_path": "/small", "source": {"volume_id": small["id"]}},
        {
            "name": "reference", "mount_path": "/reference", "access_mode": "read-only",
            "source": {"volume_id": reference["id"]},
        },
        mapped(shared),
    ]  # fmt: skip
    for each in volumes:
        each["storage_class"] = "persistent"
    resources = {"timeout_secs": 600, "memory_bytes": 512 * MEBI}
    execution = daemon.run(agent("worker", PYTHON_IMAGE, volumes=volumes, resources=resources), timeout=600)
    assert execution.state == "completed", execution.said()
    return Worked(execution, workspace, other, shared)


def mapped(volume: dict[str, Any]) -> dict[str, Any]:
    """That volume in a manifest, with users told apart."""
    source = {"volume_id": volume["id"]}
    return {"name": "shared", "mount_path": "/shared", "source": source, "identity": "mapped"}


def test_files_are_renamed_linked_chmodded_truncated_and_appended_to_as_on_a_local_disk(worked: Worked) -> None:
    assert worked.output("basics").split() == ["1000:1000", "1000:1000", "1000", "1000"]


def test_a_directory_of_10000_files_is_listed_whole_and_hundreds_are_made_and_removed(worked: Worked) -> None:
    assert worked.output("many").split() == ["10000", "10002", "300"]


def test_git_clones_a_local_repository_and_knows_its_status(worked: Worked) -> None:
    assert worked.output("git").split("\n") == ["1", " M d/f4"]


def test_a_virtual_environment_is_made_and_runs(worked: Worked) -> None:
    assert worked.output("venv") == "/workspace/venv"


def test_sqlite_keeps_a_journal_and_rolls_back(worked: Worked) -> None:
    assert worked.output("sqlite") == "(20, 190) ('ok',)"


def test_tar_extracts_modes_times_and_links(worked: Worked) -> None:
    assert worked.output("tar") == "555"


def test_rsync_brings_modes_times_and_links_through_and_then_finds_nothing_to_do(worked: Worked) -> None:
    assert worked.output("rsync").splitlines() == [
        "sub/big", "2710 1000000000.000000000", "644 946684799.500000000", "*deleting   soft", ">f.st...... tool"
    ]  # fmt: skip


def test_the_files_are_the_daemons_users_on_the_host(daemon: Daemon, worked: Worked) -> None:
    host = daemon.volume_directory(worked.workspace)
    assert (host / "owned").read_text() == "mine\n"
    assert {path.lstat().st_uid for path in host.iterdir()} == {SERVER_UID}
    assert not (host / "b").stat().st_mode & (stat.S_ISUID | stat.S_ISGID)


def test_a_mapped_volume_keeps_whose_files_are_for_the_next_executions_user(daemon: Daemon, worked: Worked) -> None:
    assert worked.output("mapped").splitlines() == ["1000:1000", "1000:1000", "Operation not permitted"]
    daemon.script("another", [shell(ANOTHERS), say("done")])
    volumes = [mapped(worked.shared) | {"storage_class": "persistent"}]
    security = {"container_uid": 2000, "container_gid": 2000}
    execution = daemon.run(agent("another", PYTHON_IMAGE, volumes=volumes, security=security), timeout=300)
    assert execution.state == "completed", execution.said()
    done = execution.of("dispatch.completed")[0]
    assert done["exit_code"] == 0, json.dumps(done, indent=1)
    assert done["stdout"].split("\n") == ["2000", "1000:1000", "1000:1000", "for all", "2000", "2", ""]
    for path in daemon.volume_directory(worked.shared).iterdir():
        assert path.stat().st_uid == (SERVER_UID if os.geteuid() == 0 else os.geteuid())


def test_another_volume_is_not_reached_by_path_or_link(worked: Worked) -> None:
    assert worked.output("path") == "workspace"


def test_a_container_may_not_mount(worked: Worked) -> None:
    assert worked.output("reach").splitlines()[0] == "mount: EPERM"


def test_a_connection_from_a_container_to_the_gateway_ends_before_a_byte(worked: Worked) -> None:
    assert worked.output("reach").splitlines()[1] in ("answer: b''", "answer: cut")


def test_a_volume_that_is_not_attached_is_not_mounted_even_by_the_engines_host(
    docker_engine: DockerEngine, worked: Worked
) -> None:
    options = page_options(docker_engine)
    with pytest.raises(LabError, match="failed to mount local volume"):
        docker_engine.api.run(BUSYBOX_IMAGE, ["true"], mounts=[NfsMount(str(worked.other["export_path"]), options)])


def test_a_read_only_attachment_is_read_and_refuses_writes_with_erofs(worked: Worked) -> None:
    assert worked.output("read-only").splitlines() == ["read me", "5"]


def test_df_shows_the_size_limit_and_over_it_no_space_is_left(worked: Worked) -> None:
    assert worked.output("quota").splitlines() == [str(8 * MEBI), "No space left on device", "fits"]


def page_options(engine: DockerEngine) -> str:
    """The page's string, with the host in its place and the ports behind it."""
    host, port = engine.gateway, 2049
    return f"addr={host},nfsvers=3,proto=tcp,soft,timeo=10,nolock,port={port},mountport={port},mountproto=tcp"


def test_a_running_container_is_made_as_the_page_says_and_goes_when_its_execution_is_cancelled(
    docker_engine: DockerEngine, daemon: Daemon
) -> None:
    daemon.script("sleeper", [shell("sleep 1000")])
    manifest = agent(
        "sleeper",
        PYTHON_IMAGE,
        environment={"GREETING": "hello"},
        resources={"cpu_quota": 1.0, "memory_bytes": 256 * MEBI, "pids_limit": 77},
        volumes=[{"name": "workspace", "mount_path": "/workspace"}],
    )
    execution = daemon.execute(manifest, PROMPT)
    daemon.wait_for(execution, "dispatch.sent")
    container = daemon.wait_for(execution, "container.started")["container_id"]
    made = docker_engine.api.call("GET", f"/containers/{container}/json")
    processes = docker_engine.guest_shell("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'")
    volume = next(each for each in daemon.call("GET", "/v1/volumes").ok()["items"] if each["owner_execution_id"])
    mount = made["HostConfig"]["Mounts"][0]
    docker_volume = docker_engine.api.call("GET", f"/volumes/{mount['Source']}")

    cancelled = daemon.cli("task", "cancel", execution)
    assert cancelled.returncode == 0, cancelled.stderr
    ended = daemon.finished(execution)
    assert ended.state == "cancelled"
    assert "container.removed" in ended.kinds()

    host = made["HostConfig"]
    swap_limited = docker_engine.api.call("GET", "/info")["SwapLimit"]  # where the kernel cannot, dockerd says so by -1
    assert {key: host[key] for key in ("NanoCpus", "Memory", "MemorySwap", "PidsLimit", "Init", "CapDrop")} == {
        "NanoCpus": 1_000_000_000, "Memory": 256 * MEBI, "MemorySwap": 256 * MEBI if swap_limited else -1,
        "PidsLimit": 77, "Init": True, "CapDrop": ["ALL"],
    }  # fmt: skip
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert not host["Privileged"] and not host["CapAdd"] and not host["Binds"]
    assert host["LogConfig"]["Type"] == "json-file"
    assert set(host["LogConfig"]["Config"]) == {"max-size", "max-file"}
    assert host["NetworkMode"] == "aegis"
    assert made["Config"]["User"] == "1000:1000"
    assert made["Name"].startswith("/aegis-agent-")
    assert made["Config"]["Labels"] == {
        "aegis.managed": "true", "aegis.container_kind": "agent", "aegis.execution_id": execution,
        "aegis.iteration": "1", "aegis.tenant_id": "lab", "aegis.node_id": daemon.node_id,
    }  # fmt: skip

    environment = dict(entry.partition("=")[::2] for entry in made["Config"]["Env"])
    assert environment["GREETING"] == "hello"
    assert environment["AEGIS_ITERATION"] == "1"
    assert {name for name in environment if name.startswith("AEGIS_")} == {
        "AEGIS_ORCHESTRATOR_URL", "AEGIS_AGENT_ID", "AEGIS_EXECUTION_ID", "AEGIS_ITERATION", "AEGIS_MODEL_ALIAS",
        "AEGIS_LLM_TIMEOUT_SECONDS", "AEGIS_DISPATCH_TOKEN",
    }  # fmt: skip
    assert "AEGIS_EXECUTION_ID" in processes.text  # so they were seen, and the next line says something
    assert PROMPT not in json.dumps(made) and PROMPT not in processes.text

    device = f":{volume['export_path']}"
    options = {"type": "nfs", "o": page_options(docker_engine), "device": device}
    assert (mount["Type"], mount["Target"]) == ("volume", "/workspace")
    assert mount["VolumeOptions"]["NoCopy"] is True
    assert mount["VolumeOptions"]["DriverConfig"] == {"Name": "local", "Options": options}
    assert docker_volume["Driver"] == "local" and docker_volume["Options"] == options
