"""The programs that agents use, with nothing but the environment their container gives them: an allowed name works, and
another is refused in words that name it.
"""

from __future__ import annotations

import asyncio
import datetime
import io
import json
import os
import shutil
import ssl
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.way_out import WayOut

RUN_SECONDS = 60.0
REFUSED = "403 Forbidden by aegis - evil.test:443 is refused: not on security.network.allowlist: web.test"


@dataclass
class Site:
    """Files served as web.test, in the open and with TLS; `environment` is that of an agent's container."""

    way: WayOut
    files: Path
    certificate: Path
    open_port: int
    tls_port: int
    environment: dict[str, str]

    async def run(self, *argv: str, **more: str) -> subprocess.CompletedProcess[str]:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.environment, **more},
            cwd=self.files.parent,
        )
        async with asyncio.timeout(RUN_SECONDS):
            out, err = await process.communicate()
        assert process.returncode is not None
        return subprocess.CompletedProcess(argv, process.returncode, out.decode(), err.decode())

    def denied(self) -> set[str]:
        return {each["host"] for each in self.way.of("network.denied")}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    files = tmp_path / "files"
    files.mkdir()
    (files / "hello").write_text("hello from the world\n")
    certificate, context = make_certificate(tmp_path)
    way = WayOut(names={"web.test": ["127.0.0.1"]})
    app = web.Application()
    app.router.add_static("/", files, show_index=True)
    async with (
        way.listening(),
        way.session("web.test"),
        served(app, None) as open_port,
        served(app_with(files), context) as tls_port,
    ):
        proxied = way.gate.environment(way.execution, f"127.0.0.1:{way.port}", "http://127.0.0.1:1")
        own = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8", **proxied}
        trust = {
            "CURL_CA_BUNDLE": str(certificate),
            "SSL_CERT_FILE": str(certificate),
            "GIT_SSL_CAINFO": str(certificate),
        }
        yield Site(way, files, certificate, open_port, tls_port, {**own, **trust})


def app_with(files: Path) -> web.Application:
    app = web.Application()
    app.router.add_static("/", files, show_index=True)
    return app


@asynccontextmanager
async def served(app: web.Application, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def make_certificate(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """Of web.test, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("web.test"), x509.IPAddress(ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "certificate.pem").write_bytes(made.public_bytes(pem))
    unencrypted = serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted)
    (directory / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    return directory / "certificate.pem", context


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


async def test_curl(site: Site) -> None:
    curl = program("curl")
    for url in (f"http://web.test:{site.open_port}/hello", f"https://web.test:{site.tls_port}/hello"):
        done = await site.run(curl, "-sS", "--fail", url)
        assert (done.returncode, done.stdout) == (0, "hello from the world\n"), done.stderr
    done = await site.run(curl, "-sS", "http://evil.test/")
    assert "evil.test:80 is refused" in done.stdout and "add evil.test to spec.security" in done.stdout
    done = await site.run(curl, "-sSv", "https://evil.test/")
    assert done.returncode == 56 and REFUSED in done.stderr
    assert site.denied() == {"evil.test"}


async def test_pythons_own_client(site: Site) -> None:
    script = (
        "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode(), end='')"
    )
    for url in (f"http://web.test:{site.open_port}/hello", f"https://web.test:{site.tls_port}/hello"):
        done = await site.run(sys.executable, "-c", script, url)
        assert (done.returncode, done.stdout) == (0, "hello from the world\n"), done.stderr
    done = await site.run(sys.executable, "-c", script, "https://evil.test/")
    assert done.returncode == 1 and REFUSED in done.stderr


async def test_httpx(site: Site) -> None:
    trust = ssl.create_default_context(cafile=str(site.certificate))
    async with httpx.AsyncClient(proxy=site.environment["HTTPS_PROXY"], verify=trust, trust_env=False) as client:
        for url in (f"http://web.test:{site.open_port}/hello", f"https://web.test:{site.tls_port}/hello"):
            assert (await client.get(url)).text == "hello from the world\n"
        assert "evil.test:80 is refused" in (await client.get("http://evil.test/")).text
        with pytest.raises(httpx.ProxyError, match=r"evil\.test:443 is refused"):
            await client.get("https://evil.test/")


async def test_git(site: Site) -> None:
    git = program("git")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    work, bare = site.files.parent / "work", site.files / "repository.git"
    for argv in (
        ["init", "-q", str(work)],
        ["-C", str(work), *identity, "commit", "-q", "--allow-empty", "-m", "first"],
        ["clone", "-q", "--bare", str(work), str(bare)],
        ["-C", str(bare), "update-server-info"],
    ):
        assert (await site.run(git, *argv)).returncode == 0
    url = f"https://web.test:{site.tls_port}/repository.git"
    done = await site.run(git, "clone", "-q", url, "copy")
    assert done.returncode == 0, done.stderr
    assert (await site.run(git, "-C", "copy", "log", "--oneline")).stdout.endswith("first\n")
    done = await site.run(git, "clone", "-q", "https://evil.test/repository.git", "other")
    assert done.returncode == 128 and "evil.test" in done.stderr and "403" in done.stderr


async def test_pip(site: Site) -> None:
    index = site.files / "simple" / "tiny"
    index.mkdir(parents=True)
    (index / "tiny-1.0-py3-none-any.whl").write_bytes(wheel())
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "download", "--no-deps", "-q"]
    own = {"PIP_CERT": str(site.certificate)}
    links = f"https://web.test:{site.tls_port}/simple/tiny/"
    done = await site.run(
        *pip, "--cert", str(site.certificate), "--no-index", "--find-links", links, "-d", "got", "tiny", **own
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (site.files.parent / "got").iterdir()] == ["tiny-1.0-py3-none-any.whl"]
    done = await site.run(*pip, "--retries", "1", "--index-url", "https://evil.test/simple", "tiny")
    assert done.returncode == 1 and "evil.test:443 is refused" in done.stderr + done.stdout


def wheel() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(
            "tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return data.getvalue()


async def test_npm(site: Site) -> None:
    npm = program("npm")
    document = {
        "name": "tiny",
        "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": {"name": "tiny", "version": "1.0.0"}},
    }
    (site.files / "tiny").write_text(json.dumps(document))
    flags = ["--fetch-retries=0", "--no-update-notifier", "--no-fund", "--cafile", str(site.certificate)]
    done = await site.run(npm, "view", "tiny", "version", f"--registry=https://web.test:{site.tls_port}/", *flags)
    assert (done.returncode, done.stdout.strip()) == (0, "1.0.0"), done.stderr
    done = await site.run(npm, "view", "tiny", "version", "--registry=https://evil.test/", *flags)
    assert done.returncode != 0 and "evil.test" in done.stderr, done.stderr
    assert site.denied() == {"evil.test"}
