"""A short run of what `python -m tests.nfsd.fuzz` does for as long as one likes: any bytes end in replies or a closed
connection, and any sequence of calls keeps the claims of `stack.py`."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from nfsd.mount3.types import MOUNT_PROGRAM
from nfsd.nfs3.const import NFS_PROGRAM
from nfsd.nfs3.restypes import SIGNATURES
from nfsd.rpc.auth import AUTH_SYS, Credentials, encode_authsys_parms
from tests.nfsd.fuzz import stack, target
from tests.nfsd.nfs3.strategies import structs

pieces = some.integers(1, 300)
CREDENTIAL = encode_authsys_parms(Credentials(1000, 1000, (4,), b"box"))


@given(some.binary(max_size=400), pieces)
def test_any_stream_ends_in_replies_or_a_closed_connection(stream: bytes, piece: int) -> None:
    target.receive(stream, piece)


@given(
    some.sampled_from([NFS_PROGRAM, MOUNT_PROGRAM, 100227]),
    some.integers(2, 4),
    some.integers(0, 23),
    some.sampled_from([0, 1, 2, 6]),
    some.binary(max_size=60) | some.just(CREDENTIAL),
    some.binary(max_size=200),
    pieces,
)
def test_any_arguments_are_answered_once(
    prog: int, vers: int, proc: int, flavor: int, credential: bytes, arguments: bytes, piece: int
) -> None:
    record = target.well_meant(prog, vers, proc, flavor, credential, arguments)
    assert len(target.receive(record * 3, piece)) == 3


@given(some.data(), pieces)
def test_a_damaged_call_between_two_good_ones_harms_only_itself(data: some.DataObject, piece: int) -> None:
    proc = data.draw(some.sampled_from(sorted(SIGNATURES)))
    arguments = bytes(data.draw(structs(SIGNATURES[proc].arguments)))
    good = target.well_meant(NFS_PROGRAM, 3, proc, AUTH_SYS, CREDENTIAL, arguments)
    damaged = bytearray(good)
    # behind the mark and the message type: those decide whether there is a stream at all
    damaged[data.draw(some.integers(12, len(good) - 1))] ^= data.draw(some.integers(1, 255))
    first, _, last = target.receive(good + bytes(damaged) + good, piece)
    assert first == last


@settings(max_examples=80)
@given(some.binary(min_size=40, max_size=1500), some.sampled_from(stack.IDENTITIES))
def test_any_sequence_of_calls_keeps_the_claims_on_memory(data: bytes, identity: stack.Identity) -> None:
    asyncio.run(stack.on_memory(data, identity))


@pytest.mark.parametrize("durability", ["host", "stable"])
def test_any_sequence_of_calls_keeps_the_claims_on_a_disk(durability: str) -> None:
    @settings(max_examples=25)
    @given(some.binary(min_size=40, max_size=1500), some.sampled_from(stack.IDENTITIES))
    def claims(data: bytes, identity: stack.Identity) -> None:
        root = tempfile.mkdtemp(prefix="aegis-fuzz-")
        try:
            asyncio.run(stack.on_disk(data, root, durability, identity))
        finally:
            shutil.rmtree(root)

    claims()


@pytest.mark.parametrize(("program", "runs"), [("fuzz_rpc.py", 2000), ("fuzz_stack.py", 300)])
def test_the_fuzzer_itself_runs(tmp_path: Path, program: str, runs: int) -> None:
    path = Path(__file__).with_name(program)
    done = subprocess.run(
        [sys.executable, path, f"-runs={runs}", "-seed=1", "-max_len=2000"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"Done {runs} runs" in done.stderr
