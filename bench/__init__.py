"""Measurements of the server against nfs-ganesha, side by side. `python -m bench --help`; see docs/performance.md.

Absolute figures of a shared machine mean nothing. So both servers run at the same time, on the same file systems, in a
network of their own; they are asked in turn, A B A B, and what is reported is the ratio within each pair.
"""
