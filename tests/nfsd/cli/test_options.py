"""The command line: what it means, and what is said when it means nothing."""

import os
from pathlib import Path

import pytest

from nfsd.cli.options import ExportOption, parse


def test_a_directory_is_exported_under_its_own_name(tmp_path: Path) -> None:
    options = parse([str(tmp_path / "data")])
    assert options.exports == (ExportOption(b"/data", tmp_path / "data"),)
    assert options.listen == (("127.0.0.1", 2049),)
    assert (options.uid, options.gid) == (os.getuid(), os.getgid())
    assert not options.read_only


def test_everything_can_be_said() -> None:
    said = (
        "--export /t/v=/srv/v --export /t/w/=/srv/w --listen 127.0.0.1:3049 --listen [::1]:0 --uid 1000 --gid 100 "
        "--read-only --allow 10.0.0.0/8 --allow ::1 --loop uvloop --durability host --quota 500Mi "
        "--state-dir /var/lib/x --log-level debug --reserved-ports-only --allow-root"
    )
    options = parse(said.split())
    assert options.exports == (
        ExportOption(b"/t/v", Path("/srv/v")),
        ExportOption(b"/t/w", Path("/srv/w")),
    )
    assert options.listen == (("127.0.0.1", 3049), ("::1", 0))
    assert options.allowed == ("10.0.0.0/8", "::1")
    assert (options.uid, options.gid, options.quota_bytes) == (1000, 100, 500 << 20)
    assert options.state_directory == Path("/var/lib/x")
    assert (options.loop, options.durability, options.log_level) == ("uvloop", "host", "debug")
    assert options.read_only
    assert options.reserved_ports_only
    assert options.allow_root


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to serve"),
        (["--export", "t/v=/srv"], "wanted PATH=DIRECTORY"),
        (["--export", "/t/v"], "wanted PATH=DIRECTORY"),
        (["--export", "/t/v="], "wanted PATH=DIRECTORY"),
        (["--export", "/t/../v=/srv"], "no . or .."),
        (["--export", f"/{'x' * 1024}=/srv"], "1024 bytes at most"),
        (["/srv/a", "/mnt/a"], "two exports have the path /a"),
        (["/srv", "--listen", "localhost:2049"], "wanted ADDRESS:PORT"),
        (["/srv", "--listen", "127.0.0.1"], "wanted ADDRESS:PORT"),
        (["/srv", "--listen", "127.0.0.1:70000"], "wanted ADDRESS:PORT"),
        (["/srv", "--listen", "127.0.0.300:1"], "no IP address"),
        (["/srv", "--allow", "10.0.0.1/8"], "no address and no network"),
        (["/srv", "--quota", "0"], "wanted a size"),
        (["/srv", "--quota", "much"], "wanted a size"),
        (["/srv", "--uid", "root"], "wanted a number"),
        (["/srv", "--uid", "4294967295"], "wanted a number"),
        (["/srv", "--durability", "never"], "invalid choice"),
        (["/srv", "--identity", "root"], "invalid choice"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_was_wanted(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("1k", 1000), ("2Ki", 2048), ("500Mi", 500 << 20), ("3g", 3 * 10**9), ("1TiB", 1 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse(["/srv", "--quota", text]).quota_bytes == size
