"""What the everyday programs work on, made here, so that nothing is fetched: Python wheels and an npm registry.

Every byte is the same each time: both sides of a comparison get equal material.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

from integration.workloads.manifest import paths

MODULES = 30
NPM_PACKAGES = 24
REGISTRY_PORT = 4873
OLD = 1_500_000_000


def make(directory: Path) -> None:
    """Fill `directory`, and let anybody read it."""
    (directory / "wheels").mkdir(parents=True)
    for name in ("labone", "labtwo", "labthree"):
        wheel(directory / "wheels", name)
    registry(directory / "registry")
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def wheel(directory: Path, name: str) -> None:
    """A pure wheel with a console script, many modules, package data, and a data file for share/."""
    info = f"{name}-1.0.dist-info"
    needs = {"labone": "", "labtwo": "Requires-Dist: labone\n", "labthree": "Requires-Dist: labtwo\n"}[name]
    files = {
        f"{name}/__init__.py": f"def main():\n    print('this is {name}')\n",
        **{f"{name}/part{n % 6}/module{n}.py": f"value = {n}\n" * (1 + n) for n in range(MODULES)},
        **{f"{name}/part{n}/__init__.py": "" for n in range(6)},
        f"{name}/data.txt": name * 3000,
        f"{name}-1.0.data/data/share/{name}/read.me": "shared\n",
        f"{name}-1.0.data/scripts/{name}.sh": "#!/bin/sh\necho a script\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = [f"{path},sha256={_urlsafe(content)},{len(content)}" for path, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    with zipfile.ZipFile(directory / f"{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as packed:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, (2017, 7, 14, 2, 40, 0))
            entry.external_attr = (0o100755 if ".data/scripts/" in path else 0o100644) << 16
            packed.writestr(entry, content)


def _urlsafe(content: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


def registry(directory: Path) -> None:
    """What registry.npmjs.org answers for each package, as files that any HTTP server can serve: document and tarball.

    Package n needs 2n and 2n+1, and each has two commands, so that installing the first installs all of them.
    """
    directory.mkdir()
    names = [_npm_name(number) for number in range(NPM_PACKAGES)]
    for number, name in enumerate(names):
        needs = [needed for needed in (2 * number, 2 * number + 1) if number < needed < NPM_PACKAGES]
        if number == 0:
            needs = [1]
        package = {
            "name": name, "version": "1.0.0", "main": "index.js", "license": "MIT",
            "bin": {f"lab-{number}": "bin/run.js", f"lab-{number}-again": "./bin/run.js"},
            "dependencies": {names[needed]: "^1.0.0" for needed in needs},
        }  # fmt: skip
        packed = _npm_tarball(package, number)
        address = f"tarballs/package-{number}.tgz"
        place = directory / address
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(packed)
        dist = {
            "tarball": f"http://127.0.0.1:{REGISTRY_PORT}/{address}",
            "shasum": hashlib.sha1(packed, usedforsecurity=False).hexdigest(),
            "integrity": "sha512-" + base64.b64encode(hashlib.sha512(packed).digest()).decode(),
        }
        document = {
            "name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {**package, "dist": dist}},
        }  # fmt: skip
        place = directory / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(document))


def _npm_name(number: int) -> str:
    return f"@lab/package-{number}" if number % 5 == 4 else f"lab-package-{number}"


def _npm_tarball(package: dict[str, object], number: int) -> bytes:
    files: dict[str, str] = {
        "package.json": json.dumps(package, indent=2),
        "index.js": f"module.exports = {number};\n",
        "bin/run.js": f"#!/usr/bin/env node\nconsole.log('command {number}', require('..'));\n",
        "README.md": f"number {number}\n" * 50,
        **{f"lib/deep/er/file{n}.js": f"exports.n = {n};\n" * (n + 1) for n in range(25)},
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size, entry.mtime, entry.mode = len(content), 499162500, 0o644  # as npm pack stamps them
            tar.addfile(entry, io.BytesIO(content.encode()))
    return gzip.compress(packed.getvalue(), mtime=0)  # the same bytes whenever it is made


def tree(directory: Path) -> None:
    """A tree with everything tar and rsync are asked to keep: modes, times to the nanosecond, links, a FIFO, a hole,
    names that are long, odd, or no UTF-8. Its owner is whoever runs this."""
    directory.mkdir()
    here = os.fsencode(directory)
    for number in range(150):
        folder = directory / f"d{number % 12}" / f"e{number % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"file{number}"
        path.write_bytes(hashlib.sha256(b"%d" % number).digest() * (number * number % 400))
        path.chmod((0o644, 0o600, 0o755, 0o444, 0o640, 0o700)[number % 6])
    os.link(directory / "d0/e0/file0", directory / "d1/hard")
    os.link(directory / "d0/e0/file0", directory / "hard")
    os.symlink("../d0/e0/file0", directory / "d1/soft")
    os.symlink("nowhere/at/all", directory / "dangling")
    os.symlink("x" * 900, directory / "long-target")
    os.mkfifo(directory / "fifo", 0o620)
    os.close(os.open(here + b"/not-utf8-\xff\xfe", os.O_CREAT, 0o644))
    for name in (" blank ", "-dash", "new\nline", "n" * 255, "ünïcode", "back\\slash", "star*?[x]"):
        (directory / name).write_text(name)
    with (directory / "sparse").open("wb") as file:
        file.seek(5_000_000)
        file.write(b"end")
    (directory / "empty").mkdir(mode=0o711)
    (directory / "setgid").mkdir()
    (directory / "setgid").chmod(0o2775)
    (directory / "sticky").mkdir()
    (directory / "sticky").chmod(0o1777)
    (directory / "d2/setuid").write_text("#!/bin/sh\n")
    (directory / "d2/setuid").chmod(0o4755)
    (directory / "closed").mkdir()
    (directory / "closed/inside").write_text("in a directory that cannot be written")
    (directory / "closed").chmod(0o555)
    for number, name in enumerate(sorted(paths(str(directory)), reverse=True)):
        times = (OLD * 10**9 + number, OLD * 10**9 + number * 1_000_003)
        os.utime(os.path.join(directory, name), ns=times, follow_symlinks=False)
    os.utime(directory, (OLD, OLD))


def sample(arguments: argparse.Namespace) -> int:
    """Make a new directory with every kind of file in it."""
    tree(Path(arguments.directory))
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own."""
    parser.add_argument("--directory", required=True)
    parser.set_defaults(function=sample)
