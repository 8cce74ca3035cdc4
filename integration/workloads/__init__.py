"""Work on a workspace as agents do it, judged by what it leaves: random operations on one file and on trees, and
everyday programs beside the same on a local disk.

`fsx*` and `tree*` run where the file system under test is mounted, with that machine's Python and the standard library
alone: `python3 -m integration.workloads fsx --directory /mnt/workspace`. The rest is the tests' side.
"""
