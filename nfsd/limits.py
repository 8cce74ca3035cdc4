"""Every bound of `nfsd` in one place, the unit in its name, the reason beside it.

The rule: a byte or a request from the network meets one of these before memory or a descriptor is spent on it. What
happens when a bound is met stands where the bound is used.
"""

KIB = 1024
MIB = 1024 * 1024

# --- payloads (RFC 1813 section 3.3.19, FSINFO) -----------------------------------------------------------------------
# The Linux client asks for 1 MiB at most (NFS_MAX_FILE_IO_SIZE); larger requests gain nothing and cost memory.
RTMAX_BYTES = MIB
WTMAX_BYTES = MIB
# One READDIR or READDIRPLUS reply. Linux asks for 32 KiB to 1 MiB.
DTPREF_BYTES = 64 * KIB
READDIR_BYTES_MAX = MIB
# Entries of one READDIRPLUS reply, each a look-up of its own: a few milliseconds of the loop, whatever a client asks.
READDIRPLUS_ENTRIES_MAX = 1024
# Encoded pages of READDIRPLUS kept, of all exports: 150 full pages of 1,024 entries, most pages are far smaller.
PAGE_BYTES_KEPT_MAX = 32 * MIB
# How long one is sent again although the host may have changed a file behind our back.
PAGE_SECONDS_MAX = 1.0

# --- records (RFC 5531 section 11) ------------------------------------------------------------------------------------
# The largest call is a WRITE: 40 bytes of header, credential and verifier of 400 bytes each, a handle of 68, 20 bytes
# of arguments, the data and its padding. 4 KiB of room covers that.
RECORD_BYTES_MAX = WTMAX_BYTES + 4 * KIB
# libtirpc cuts a record into fragments of its send size (8 KiB and more). 1024 also bounds empty fragments.
RECORD_FRAGMENTS_MAX = 1024
# What an idle connection keeps to receive into. Fifteen pipelined 4 KiB WRITEs fit one receive: a third less CPU for
# each than with seven; twice as much gains nothing more, and leaves the processor's cache. 1,000 idle connections hold
# 64 MiB, of which those that never sent a burst have touched a page each.
RECEIVE_BYTES_IDLE = 64 * KIB
# Spare buffers for large records, shared by all connections; others are given back to the allocator.
RECEIVE_BUFFERS_SPARE_MAX = 8

# --- RPC (RFC 5531) ---------------------------------------------------------------------------------------------------
AUTH_BYTES_MAX = 400  # section 8.2: opaque body<400>
MACHINENAME_BYTES_MAX = 255  # appendix A: machinename<255>
GIDS_MAX = 16  # appendix A: gids<16>
# Distinct AUTH_SYS bodies remembered decoded. A client repeats one body per (host, uid, groups) on each call.
CREDENTIALS_CACHE_ENTRIES_MAX = 1024

# --- NFS and MOUNT (RFC 1813 section 2.4 and appendix I) --------------------------------------------------------------
FH_BYTES_MAX = 64  # NFS3_FHSIZE, FHSIZE3
NAME_BYTES_MAX = 255  # NAME_MAX of every Linux file system; longer: NFS3ERR_NAMETOOLONG, not garbage
PATH_BYTES_MAX = 4096  # a symlink's content; PATH_MAX of Linux
MNTPATH_BYTES_MAX = 1024  # MNTPATHLEN
MNTNAME_BYTES_MAX = 255  # MNTNAMLEN
# DUMP is for people; a client that mounts in a loop must not fill memory.
MOUNT_LIST_ENTRIES_MAX = 1024
EXPORT_LIST_ENTRIES_MAX = 65536
EXPORT_GROUPS_MAX = 64

# --- duplicate requests -----------------------------------------------------------------------------------------------
# Linux keeps an answer 120 s (RC_EXPIRE); a retransmission comes within a few timeouts, or after a reconnect.
REPLAY_SECONDS_MAX = 120
REPLAY_ENTRIES_MAX = 4096
REPLAY_BYTES_MAX = 4 * MIB
# Repetitions of one call that wait for its results; a client sends the next one after its timer, a minute by default.
REPLAY_REPETITIONS_MAX = 4
# Enough of the arguments to tell two calls with one xid apart: both handles and the names (Linux: RC_CSUMLEN).
REPLAY_ARGUMENT_BYTES_MAX = 256

# --- connections ------------------------------------------------------------------------------------------------------
# A host mounts over few connections (nconnect is at most 16). More would be a leak or an attack.
CONNECTIONS_MAX = 1024
CONNECTIONS_PER_ADDRESS_MAX = 512
# Calls of one connection that wait for blocking work. The Linux client's slot table starts at 2 and grows to 65,536; at
# the bound the connection is not read any more, so TCP holds the client back.
CALLS_IN_FLIGHT_MAX = 128
# Calls answered for one connection before the others have their turn: at most a millisecond of small ones.
CALLS_PER_TURN_MAX = 64
# Bytes of replies a client has not fetched yet; at the bound the connection is not read any more.
SEND_BUFFER_BYTES_MAX = 4 * MIB
# Linux closes an idle NFS connection itself after 5 minutes.
CONNECTION_IDLE_SECONDS = 600
# How long the event loop looks for the next call before it sleeps, while calls come that quickly (`server.selector`):
# two round trips on one machine. The Linux kernel polls as long before it halts a processor (guest_halt_poll_ns).
BUSY_POLL_SECONDS_MAX = 0.0002
# From the first byte of a record to its last, and for the first record after connect: a stalled peer loses its place.
RECORD_SECONDS_MAX = 60

# --- several worker processes -----------------------------------------------------------------------------------------
# More would be more than the cores of most hosts; each holds a socket to each other.
WORKERS_MAX = 64
# Calls, and their bytes, that one worker has given to another and that are not answered; further ones wait where they
# came in, as many for each connection as CALLS_IN_FLIGHT_MAX says.
LINK_CALLS_MAX = 1024
LINK_BYTES_MAX = 32 * MIB
# What stands before a record on its way to its owner: a number, and the client's port and address.
LINK_HEAD_BYTES_MAX = 128
# Calls in a row for one other worker after which a connection moves there. A move costs about as much as ten of them.
HANDOVER_CALLS_MIN = 128
# One message between the supervisor and a worker: a connection and what was received on it, RECEIVE_BYTES_IDLE at most.
CHANNEL_MESSAGE_BYTES_MAX = 128 * KIB

# --- handles ----------------------------------------------------------------------------------------------------------
# Handles whose node is remembered, over all exports: about 500 bytes each. A forgotten one is searched for in its tree.
KNOWN_HANDLES_MAX = 262_144
# However many exports share them: less would make one directory listing forget itself.
KNOWN_HANDLES_PER_EXPORT_MIN = 4096
# Times one call may be restarted because a handle of it had to be searched for; it has two handles at most.
SEARCHES_PER_CALL_MAX = 4
