"""Coverage-guided fuzzing of the protocol half (atheris, libFuzzer's options):

python tests/nfsd/fuzz/fuzz_rpc.py -max_total_time=60 [CORPUS_DIRECTORY]

An input is either a raw stream or a call with a right header around fuzzed arguments: the first byte says which, the
second how large the pieces are in which it arrives.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

with atheris.instrument_imports(include=["nfsd"]):
    from nfsd.mount3.types import MOUNT_PROGRAM
    from nfsd.nfs3.const import NFS_PROGRAM
    from tests.nfsd.fuzz import target


def one_input(data: bytes) -> None:
    if len(data) < 4:
        return
    kind, piece, proc, flavor = data[:4]
    stream = data[4:]
    if kind & 1:
        prog = MOUNT_PROGRAM if kind & 2 else NFS_PROGRAM
        credential, arguments = (stream[:40], stream[40:]) if flavor & 1 else (b"", stream)
        stream = target.well_meant(prog, 3, proc % 24, flavor & 1, credential, arguments)
    target.receive(stream, 1 + piece)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
