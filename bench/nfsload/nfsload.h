/*
 * nfsload: a closed-loop load generator for NFSv3 servers, on libnfs's asynchronous RPC calls.
 *
 * main.c     options, the loop that keeps N calls outstanding on each of C connections, the report
 * calls.c    each operation: how it is asked, and how its answer is checked
 * setup.c    mounting, and the files and directories the operations need; one call at a time
 * measure.c  the latency histogram, and the processor time of the servers
 *
 * The rule: an answer is counted only after it was checked. Data carry their offset and a seed in every 8-byte word, so
 * a block from the wrong place, of the wrong run or half old is an error and not a fast answer. One error ends the run
 * with exit status 1, because the figures of a server that answers wrongly are worth nothing.
 */
#ifndef NFSLOAD_H
#define NFSLOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

enum {
    CONNECTIONS_MAX = 256,
    OUTSTANDING_MAX = 1024, /* on one connection */
    PIDS_MAX = 32,
    NAME_BYTES = 64,
    ANSWER_SECONDS_MAX = 30 /* a server that is silent for so long is broken, not slow */
};

enum operation { NULL_CALL, GETATTR, LOOKUP, ACCESS, SETATTR, READ, WRITE, CREATE, READDIRPLUS };

struct options {
    enum operation operation;
    const char *host, *export, *directory;
    int port, mount_port, uid;
    int connections, outstanding, entries;
    double seconds, warmup;
    uint64_t file_bytes;   /* of the file that is read or written; a multiple of io_bytes */
    uint64_t commit_bytes; /* WRITE: a COMMIT after so many; 0: one at the end */
    uint32_t io_bytes;
    bool random;
    bool unverified; /* WRITE: do not read back */
    int stable;      /* WRITE: stable_how */
    uint64_t seed; /* of the file to be read: the same in every run on one directory */
    int pids[PIDS_MAX], pid_count;
};

struct handle {
    uint32_t length;
    char bytes[NFS3_FHSIZE];
};

/* What setup made, in the export's directory `directory`. */
struct target {
    struct handle directory, file, listed;
    uint64_t fileid, names_sum;
};

extern struct options options;
extern struct target target;

/* ---- measure.c ---- */

uint64_t now_ns(void);
void histogram_add(uint64_t ns);
double histogram_us(double quantile); /* of the upper edge of the bucket: never too good; at most 1.6 % too bad */
double histogram_max_us(void);
double servers_cpu_seconds(void); /* user and system time of all threads of options.pids */
double own_cpu_seconds(void);

/* ---- setup.c ---- */

_Noreturn void fail(const char *what, const char *why);
struct rpc_context *connect_to_nfs(int number);
void prepare(struct rpc_context *rpc);
void verify_written(struct rpc_context *rpc); /* read back every block that was written, and compare */
nfs_fh3 as_fh3(struct handle *handle);
uint64_t name_hash(const char *name);

/* ---- calls.c ---- */

/* One of the calls that are outstanding. */
struct slot {
    struct rpc_context *rpc;
    int number;
    uint64_t asked_at, offset;
    uint32_t random;
    char name[NAME_BYTES];
    bool made; /* CREATE: the name exists, REMOVE is next */
    cookie3 cookie;
    cookieverf3 verifier;
    uint64_t listed, names_sum; /* READDIRPLUS: of the listing under way */
};

struct totals {
    uint64_t calls, bytes, entries, commits, commit_ns, commit_ns_max;
};

extern struct totals totals;
extern bool measuring, stopping;
extern int in_flight;
extern const char *image;      /* file_bytes of what the file contains (READ) or shall contain (WRITE) */
extern unsigned char *written; /* WRITE: one per block of io_bytes */

void make_image(void);
void start(struct slot *slot);
void commit_at_end(struct rpc_context *rpc);

#endif
