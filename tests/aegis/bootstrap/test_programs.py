"""The programs as they are shipped: what they are made of, for what, and that nobody has to believe it."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from aegis.bootstrap import ARCHITECTURES, SCRIPT_PATH, command_for, files_for_containers, program_path
from tests.support.bootstraps import DIRECTORY, PROGRAMS, SCRIPT, Bootstrap, Orchestrator, missing

ELF_MACHINES = {"amd64": 62, "arm64": 183}  # EM_X86_64, EM_AARCH64
CROSS_COMPILER = "aarch64-linux-gnu-gcc"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_program_is_static_and_for_its_machine(architecture: str) -> None:
    program = files_for_containers()[program_path(architecture)]
    assert program[:6] == b"\x7fELF\x02\x01"  # 64 bits, little-endian
    assert int.from_bytes(program[16:18], "little") == 2  # ET_EXEC: no loader is asked for
    assert int.from_bytes(program[18:20], "little") == ELF_MACHINES[architecture]
    assert b"/lib/ld-" not in program and b"/lib64/ld-" not in program
    assert len(program) < 64 * 1024


def test_the_programs_are_what_their_source_says(tmp_path: Path) -> None:
    if shutil.which(CROSS_COMPILER) is None:
        pytest.skip(f"{CROSS_COMPILER} is not installed: apt-get install gcc-aarch64-linux-gnu")
    version = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()
    if version != "12.2.0":
        pytest.skip(f"they are built by gcc 12.2.0 (Debian 12), and here is {version}")
    subprocess.run([DIRECTORY / "native" / "build.sh", tmp_path], check=True)
    for architecture in ARCHITECTURES:
        name = f"agent-{architecture}"
        assert (tmp_path / name).read_bytes() == (DIRECTORY / name).read_bytes(), "run aegis/bootstrap/native/build.sh"


def test_an_architecture_without_a_program_needs_a_python() -> None:
    assert command_for("amd64") == ("/aegis/agent-amd64", SCRIPT_PATH)
    assert command_for("riscv64") == ("python3", SCRIPT_PATH)


async def test_the_program_for_arm64_does_the_same(orchestrator: Orchestrator, port: int) -> None:
    if reason := missing("arm64"):
        pytest.skip(reason)
    orchestrator.faults = ["cut", "", "503"]
    orchestrator.commands.append(["sh", "-c", "echo late; sleep 1000"])
    orchestrator.changes = {"timeout_secs": 0.7}
    ended = await Bootstrap(PROGRAMS["arm64"]).run(port)
    assert ended.code == 0, ended.log
    results = [(each["exit_code"], each["stdout"]) for each in orchestrator.taken.values()]
    assert results == [(0, "one\n"), (2, "two\n"), (-1, "late\n")]


# ---- which of the two runs ----


async def chosen(port: int, path: Path, *, script: Path = SCRIPT) -> str:
    """The log of the native program as a container starts it, with this PATH."""
    if reason := missing("native"):
        pytest.skip(reason)
    ended = await Bootstrap([str(DIRECTORY / "agent-amd64"), str(script)]).run(
        port, PATH=f"{path}:{os.environ['PATH']}"
    )
    assert ended.code == 0, ended.log
    return ended.log


def a_python(directory: Path, text: str) -> None:
    directory.mkdir()
    (directory / "python3").write_text(text)
    (directory / "python3").chmod(0o755)


async def test_where_there_is_a_python_it_runs_the_script(port: int, tmp_path: Path) -> None:
    a_python(tmp_path / "bin", f'#!/bin/sh\necho a python; exec {sys.executable} "$@"\n')
    marked = tmp_path / "bootstrap.py"
    future = "from __future__ import annotations\n"
    marked.write_text(SCRIPT.read_text().replace(future, f'{future}print("the script", __name__)\n', 1))
    log = await chosen(port, tmp_path / "bin", script=marked)
    assert log.startswith("a python\nthe script __main__\n")
    assert "final response after 2 tool calls" in log


async def test_a_python_that_is_too_old_gives_way(port: int, tmp_path: Path) -> None:
    """An old interpreter as far as the program can tell: its version says 3.6."""
    patch = "import sys; sys.version_info = (3, 6); sys.argv = ['-c', *sys.argv[2:]]; exec(sys.orig_argv[3])"
    a_python(tmp_path / "bin", f'#!/bin/sh\necho too old; exec {sys.executable} -c "{patch}" "$2" "$3" "$4"\n')
    log = await chosen(port, tmp_path / "bin")
    assert log.startswith("too old\n[aegis] iteration 3")


async def test_a_python_that_cannot_be_started_is_passed_over(port: int, tmp_path: Path) -> None:
    a_python(tmp_path / "bin", "\x7fELF but not really")
    if reason := missing("native"):
        pytest.skip(reason)
    ended = await Bootstrap([str(DIRECTORY / "agent-amd64"), str(SCRIPT)]).run(port, PATH=str(tmp_path / "bin"))
    assert "[aegis] iteration 3" in ended.log


async def test_python_speaks_https_where_the_address_says_so(tmp_path: Path) -> None:
    """With the certificates the image trusts; the native program gives way to it there."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "orchestrator")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    pem = tmp_path / "pem"
    pem.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    runner = web.AppRunner(Orchestrator().application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    url = f"https://127.0.0.1:{port}"
    try:
        ended = await Bootstrap(PROGRAMS["python"]).run(port, AEGIS_ORCHESTRATOR_URL=url, SSL_CERT_FILE=str(pem))
    finally:
        await runner.cleanup()
    assert ended.code == 0, ended.log
    assert "final response after 2 tool calls" in ended.log


def test_python_imports_no_more_than_it_needs() -> None:
    """What it imports is on the way to the agent's first command: half of it would be http.client's."""
    seen = "print(sorted({'http.client', 'ssl', 'typing'} & set(sys.modules)))"
    look = f"import sys; exec(open({str(SCRIPT)!r}).read(), {{'__name__': 'looked at'}}); {seen}"
    argv = [sys.executable, "-I", "-S", "-c", look]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "[]\n"
