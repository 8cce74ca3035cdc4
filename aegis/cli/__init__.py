"""The command line: a client of the HTTP API, and what can be done without a daemon (validate, explain, doctor).

Modules here import the standard library and typer only at their head; whatever is heavier is imported where it is
used, so that `aegis --help` answers at once.
"""
