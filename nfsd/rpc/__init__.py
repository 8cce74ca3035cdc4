"""ONC RPC version 2 (RFC 5531) as bytes in, bytes out: records, messages, credentials, dispatch, replays; no I/O."""
