"""NFS version 3 (RFC 1813) as bytes in, bytes out: words, structures, hot codecs and status mapping; no I/O."""
