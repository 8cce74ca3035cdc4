"""`python -m tests.nfsd.fuzz --seconds 600`: fuzz for as long as one likes, a third of it the protocol and a third the
stack with atheris, which looks for coverage, and a third both with hypothesis, which keeps to what is nearly valid.

What is found is kept: the input that failed is a file, named at the end together with the command that runs it again;
hypothesis prints its own.
Exit status: 0 nothing was found, 1 something was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAMS = ("fuzz_rpc.py", "fuzz_stack.py")
SHARES = len(PROGRAMS) + 1
INPUT_BYTES_MAX = 4096
HUNG_SECONDS = 60  # libFuzzer's own limit for one input


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.nfsd.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="of all together (60)")
    parser.add_argument("--seed", type=int, default=0, help="0: a new one each time")
    parser.add_argument("--corpus", type=Path, help="directory that keeps what reached new code, for the next time")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="aegis-fuzz-") as scratch:
        for program in PROGRAMS:
            corpus = (options.corpus or Path(scratch)) / Path(program).stem
            corpus.mkdir(parents=True, exist_ok=True)
            failed |= fuzz(Path(__file__).with_name(program), corpus, options.seconds // SHARES, options.seed)
    return failed | properties(options.seconds // SHARES)


def fuzz(program: Path, corpus: Path, seconds: int, seed: int) -> int:
    """Run one of the programs; 1 when it found something."""
    print(f"{program.name}: {seconds} s", flush=True)
    command = [
        sys.executable, str(program), f"-max_total_time={seconds}", f"-max_len={INPUT_BYTES_MAX}", f"-seed={seed}",
        f"-timeout={HUNG_SECONDS}", "-artifact_prefix=fuzz-", "-print_final_stats=1", str(corpus),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 300)
    lines = done.stderr.splitlines()
    print("\n".join(line for line in lines if line.startswith(("stat::number_of", "stat::peak_rss"))))
    if done.returncode == 0:
        return 0
    print("\n".join(lines[-40:]))
    kept = next((line.rpartition(" ")[2] for line in lines if "Test unit written to" in line), None)
    print(f"found something: {sys.executable} {program} {kept}")
    return 1


def properties(seconds: int) -> int:
    """The properties of test_fuzz.py again and again, each time with other examples; 1 when one did not hold."""
    tests = Path(__file__).with_name("test_fuzz.py")
    print(f"{tests.name}: {seconds} s", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "any or damaged", str(tests)]
    deadline, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tests.parents[3])
        if done.returncode:
            print(done.stdout[-8000:])
            return 1
        rounds += 1
    print(f"rounds: {rounds}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
