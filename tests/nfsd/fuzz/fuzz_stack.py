"""Coverage-guided fuzzing of the whole server behind its sockets (atheris, libFuzzer's options):

python tests/nfsd/fuzz/fuzz_stack.py -max_total_time=60 [CORPUS_DIRECTORY]

An input is a sequence of calls (choices.py). Its first byte says on what: mostly on memory, which is faster, else on an
empty directory, with nothing flushed or everything; and as whom: squashed or mapped.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

with atheris.instrument_imports(include=["nfsd"]):
    from tests.nfsd.fuzz import stack

RUNNER = asyncio.Runner()


def one_input(data: bytes) -> None:
    if len(data) < 4:
        return
    where, calls = data[0] % 8, data[1:]
    identity = stack.IDENTITIES[data[0] // 8 % len(stack.IDENTITIES)]
    if where > 1:
        RUNNER.run(stack.on_memory(calls, identity))
        return
    root = tempfile.mkdtemp(prefix="aegis-fuzz-")
    try:
        RUNNER.run(stack.on_disk(calls, root, ("host", "stable")[where], identity))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
