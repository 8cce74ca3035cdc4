"""`documents.readers` and `names`: units, words and names, each with what is said when it is not one."""

from __future__ import annotations

from typing import Any

import pytest

from aegis.documents import names, readers
from aegis.documents.readers import Mistake, Mistakes, Reader
from aegis.documents.source import parse


def read(reader: Reader, written: str) -> Any:
    return reader.read(parse(written, "f.yaml")[0])


def complaint(reader: Reader, written: str) -> str:
    with pytest.raises(Mistake) as caught:
        read(reader, written)
    return f"{caught.value.wanted} | {caught.value.hint}"


@pytest.mark.parametrize(
    ("reader", "written", "value"),
    [
        (readers.SIZE, "1Gi", 2**30),
        (readers.SIZE, "500Mi", 500 * 2**20),
        (readers.SIZE, "1G", 10**9),
        (readers.SIZE, "1.5Gi", 3 * 2**29),
        (readers.SIZE, "1024", 1024),
        (readers.SIZE, '"1024"', 1024),
        (readers.MEMORY, "1073741824", 2**30),
        (readers.MEGABYTES, "10", 10 * 2**20),
        (readers.DURATION, "5m", 300.0),
        (readers.DURATION, "300s", 300.0),
        (readers.DURATION, "300", 300.0),
        (readers.DURATION, "0.5", 0.5),
        (readers.DURATION, "1h30m", 5400.0),
        (readers.DURATION, "250ms", 0.25),
        (readers.CORES, "0.5", 0.5),
        (readers.CORES, "2", 2.0),
        (readers.MILLICORES, "1500", 1.5),
        (readers.MILLICORES, "500m", 0.5),
        (readers.BOOLEAN, "yes", True),
        (readers.INTEGER, "0x10", 16),
        (names.HOST, "API.GitHub.com.", "api.github.com"),
        (names.HOST, '"*.example.org"', "*.example.org"),
        (names.HOST, "API.GitHub.com.:8443", "api.github.com:8443"),
        (names.HOST, '"[2001:DB8::1]:99"', "[2001:db8::1]:99"),
        (names.HOST, '"2001:DB8::1"', "2001:db8::1"),
        (names.HOST, "10.1.2.3/8", "10.0.0.0/8"),
        (names.MOUNT_PATH, "//workspace//a/./b/", "/workspace/a/b"),
        (names.IMAGE, "python:3.11-slim", "python:3.11-slim"),
        (names.IMAGE, "ghcr.io:443/a/b@sha256:" + "0" * 64, "ghcr.io:443/a/b@sha256:" + "0" * 64),
        (names.VARIABLE_VALUE, "literal:env:X", "env:X"),
    ],
)
def test_a_value_in_its_own_words_is_read(reader: Reader, written: str, value: Any) -> None:
    assert read(reader, written) == value


@pytest.mark.parametrize(
    ("reader", "written", "said"),
    [
        (readers.CORES, "1000", "write 1 here"),
        (readers.CORES, ".inf", "finite"),
        (readers.MILLICORES, "2", "write 2000"),
        (readers.MILLICORES, "0.5", "write 500"),
        (readers.MEMORY, "512", 'did you mean "512Mi"?'),
        (readers.MEMORY, "512m", "Ki, Mi, Gi, Ti"),
        (readers.SIZE, "1GB", "Ki, Mi, Gi, Ti"),
        (readers.SIZE, "-1Gi", "a size"),
        (readers.SIZE, "yes", "a size"),
        (readers.DURATION, "5:00", 'write "5m"'),
        (readers.DURATION, "300000000", "write 300000"),
        (readers.DURATION, "0", "longer than zero"),
        (readers.DURATION, "5 minutes", "units are"),
        (readers.INTEGER, "010", "reads 010 as 8"),
        (readers.INTEGER, "1.5", "a whole number"),
        (readers.BOOLEAN, '"true"', "true or false"),
        (readers.TEXT, "3.10", 'write "3.10"'),
        (readers.TEXT, "no", 'YAML 1.1 reads no as a boolean; write "no"'),
        (readers.TEXT, "12:30", "to the base of 60"),
        (readers.choice(["Always", "Never"]), "always", "did you mean Always?"),
        (readers.choice(["a"], not_yet=["b"]), "b", "not available in this version"),
        (names.HOST, "https://api.github.com/v1", "the list is of hosts: api.github.com"),
        (names.HOST, "api.github.com:70000", "ports are 1 to 65535"),
        (names.HOST, "10.0.0.0/8:443", "a network has no port"),
        (names.HOST, "api.github.com/v1", "paths cannot be told apart here: api.github.com"),
        (names.HOST, '"api.*.com"', "*.example.org"),
        (names.MOUNT_PATH, "workspace", "/workspace"),
        (names.MOUNT_PATH, "/a/../b", "without '..' it is /b"),
        (names.MOUNT_PATH, "/proc/1", "belongs to the image or to the system"),
        (names.MOUNT_PATH, "/aegis", "belongs to the image or to the system"),
        (names.MOUNT_PATH, "/", "belongs to the image or to the system"),
        (names.MOUNT_PATH, '"/a:b"', "without ',' and ':'"),
        (names.IMAGE, "Python:3", "python:3"),
        (names.IMAGE, "https://ghcr.io/a", "no scheme"),
        (names.VOLUME_ID, '"{{input.x}}"', "not available in this version"),
        (names.VARIABLE_VALUE, "secret:a", "can stand in a manifest's environment, not here"),
        (names.MANIFEST_VARIABLE, "secret:../a", "secret:path#field"),
        (names.MANIFEST_VARIABLE, '"secret:"', "secret:path#field"),
        (names.MANIFEST_VARIABLE, "env:HOME", "cannot read the daemon's environment"),
        (names.VARIABLE_VALUE, "env:HOME", "cannot read the daemon's environment"),
    ],
)
def test_a_value_that_was_not_meant_so_is_refused_with_the_way_to_write_it(
    reader: Reader, written: str, said: str
) -> None:
    assert said in complaint(reader, written)


def test_every_bad_item_of_a_list_is_reported() -> None:
    with pytest.raises(Mistakes) as caught:
        read(readers.list_of(names.HOST), '[a.org, "b c", https://d, ~]')
    assert [mistake.index for mistake in caught.value.all_of_them] == [1, 2, 3]


@pytest.mark.parametrize("name", ["AEGIS_X", "aegis_y", "1A", "A-B", "A=B", ""])
def test_a_variable_a_manifest_may_not_set_is_refused(name: str) -> None:
    with pytest.raises(Mistake):
        names.check_variable(name)
