/* Mounting, and what the operations need below the export: one call at a time, each of them checked. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "nfsload.h"

enum { SETUP_IO_BYTES = 64 << 10 };

/* A call under way; `take` is given the decoded result. */
struct call {
    bool done;
    int status;
    void (*take)(struct call *call, void *result);
    nfsstat3 nfs_status;
    struct handle *handle;
    uint64_t size, fileid;
    const char *expected; /* READ: what must come back */
    uint32_t expected_bytes;
};

struct target target;

void fail(const char *what, const char *why)
{
    fprintf(stderr, "nfsload: %s: %s\n", what, why ? why : "unknown error");
    exit(1);
}

nfs_fh3 as_fh3(struct handle *handle)
{
    nfs_fh3 converted;
    converted.data.data_len = handle->length;
    converted.data.data_val = handle->bytes;
    return converted;
}

static void keep_handle(struct handle *handle, uint32_t length, const char *bytes)
{
    if (length > NFS3_FHSIZE)
        fail("file handle", "longer than 64 bytes");
    handle->length = length;
    memcpy(handle->bytes, bytes, length);
}

static void answered(struct rpc_context *rpc, int status, void *result, void *private)
{
    struct call *call = private;
    (void)rpc;
    call->status = status;
    call->done = true;
    if (status == RPC_STATUS_SUCCESS && call->take)
        call->take(call, result);
}

static void wait_for(struct rpc_context *rpc, struct call *call, int queued, const char *what)
{
    if (queued < 0)
        fail(what, rpc_get_error(rpc));
    while (!call->done) {
        struct pollfd waiting = { .fd = rpc_get_fd(rpc), .events = (short)rpc_which_events(rpc) };
        if (poll(&waiting, 1, ANSWER_SECONDS_MAX * 1000) == 0)
            fail(what, "no answer");
        if (rpc_service(rpc, waiting.revents) < 0)
            fail(what, rpc_get_error(rpc));
    }
    if (call->status != RPC_STATUS_SUCCESS)
        fail(what, rpc_get_error(rpc));
}

static void must_be_ok(struct call *call, const char *what)
{
    if (call->nfs_status != NFS3_OK)
        fail(what, nfsstat3_to_str((int)call->nfs_status));
}

/* ---- connections ---- */

static struct rpc_context *connect_to(int port, int program, int version)
{
    struct rpc_context *rpc = rpc_init_context();
    struct call call = { 0 };
    if (!rpc)
        fail("rpc_init_context", "no memory");
    rpc_set_uid(rpc, options.uid);
    rpc_set_gid(rpc, options.uid);
    wait_for(rpc, &call, rpc_connect_port_async(rpc, options.host, port, program, version, answered, &call), "connect");
    return rpc;
}

static void take_mount(struct call *call, void *result)
{
    mountres3 *mounted = result;
    call->nfs_status = (nfsstat3)mounted->fhs_status;
    if (mounted->fhs_status == MNT3_OK)
        keep_handle(call->handle, mounted->mountres3_u.mountinfo.fhandle.fhandle3_len,
                    mounted->mountres3_u.mountinfo.fhandle.fhandle3_val);
}

static void mount_export(struct handle *root)
{
    struct rpc_context *rpc = connect_to(options.mount_port, MOUNT_PROGRAM, MOUNT_V3);
    struct call call = { .take = take_mount, .handle = root };
    wait_for(rpc, &call, rpc_mount3_mnt_async(rpc, answered, (char *)options.export, &call), "mount");
    must_be_ok(&call, options.export);
    rpc_destroy_context(rpc);
}

struct rpc_context *connect_to_nfs(int number)
{
    struct rpc_context *rpc = connect_to(options.port, NFS_PROGRAM, NFS_V3);
    /* Servers keep answers by xid to give them again. Ours must differ between connections and between runs. */
    rpc_set_next_xid(rpc, (uint32_t)now_ns() * 2654435761u + (uint32_t)number * 0x01000000u);
    return rpc;
}

/* ---- names ---- */

uint64_t name_hash(const char *name)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash;
}

static void take_lookup(struct call *call, void *result)
{
    LOOKUP3res *found = result;
    call->nfs_status = found->status;
    if (found->status != NFS3_OK)
        return;
    LOOKUP3resok *ok = &found->LOOKUP3res_u.resok;
    keep_handle(call->handle, ok->object.data.data_len, ok->object.data.data_val);
    if (!ok->obj_attributes.attributes_follow)
        fail("LOOKUP", "no attributes in the answer");
    call->size = ok->obj_attributes.post_op_attr_u.attributes.size;
    call->fileid = ok->obj_attributes.post_op_attr_u.attributes.fileid;
}

static void take_status(struct call *call, void *result)
{
    call->nfs_status = *(nfsstat3 *)result; /* every result of NFSv3 begins with it */
}

static bool look_up(struct rpc_context *rpc, struct handle *directory, const char *name, struct handle *found,
                    struct call *details)
{
    struct call call = { .take = take_lookup, .handle = found };
    LOOKUP3args args = { .what = { .dir = as_fh3(directory), .name = (char *)name } };
    wait_for(rpc, &call, rpc_nfs3_lookup_async(rpc, answered, &args, &call), "LOOKUP");
    if (call.nfs_status == NFS3ERR_NOENT)
        return false;
    must_be_ok(&call, name);
    if (details)
        *details = call;
    return true;
}

static void need_directory(struct rpc_context *rpc, struct handle *parent, const char *name, struct handle *made)
{
    if (look_up(rpc, parent, name, made, NULL))
        return;
    struct call call = { .take = take_status };
    MKDIR3args args = { .where = { .dir = as_fh3(parent), .name = (char *)name } };
    args.attributes.mode.set_it = 1;
    args.attributes.mode.set_mode3_u.mode = 0755;
    wait_for(rpc, &call, rpc_nfs3_mkdir_async(rpc, answered, &args, &call), "MKDIR");
    must_be_ok(&call, name);
    if (!look_up(rpc, parent, name, made, NULL))
        fail(name, "gone after MKDIR");
}

static void need_file(struct rpc_context *rpc, struct handle *parent, const char *name, struct handle *made,
                      struct call *details)
{
    if (look_up(rpc, parent, name, made, details))
        return;
    struct call call = { .take = take_status };
    CREATE3args args = { .where = { .dir = as_fh3(parent), .name = (char *)name }, .how = { .mode = UNCHECKED } };
    args.how.createhow3_u.obj_attributes.mode.set_it = 1;
    args.how.createhow3_u.obj_attributes.mode.set_mode3_u.mode = 0644;
    wait_for(rpc, &call, rpc_nfs3_create_async(rpc, answered, &args, &call), "CREATE");
    must_be_ok(&call, name);
    if (!look_up(rpc, parent, name, made, details))
        fail(name, "gone after CREATE");
}

/* ---- contents ---- */

static void fill(struct rpc_context *rpc, uint64_t from)
{
    for (uint64_t offset = from - from % SETUP_IO_BYTES; offset < options.file_bytes; offset += SETUP_IO_BYTES) {
        struct call call = { .take = take_status };
        uint64_t left = options.file_bytes - offset;
        uint32_t count = left < SETUP_IO_BYTES ? (uint32_t)left : SETUP_IO_BYTES;
        WRITE3args args = { .file = as_fh3(&target.file), .offset = offset, .count = count, .stable = UNSTABLE };
        args.data.data_len = count;
        args.data.data_val = (char *)image + offset;
        wait_for(rpc, &call, rpc_nfs3_write_async(rpc, answered, &args, &call), "WRITE");
        must_be_ok(&call, "WRITE");
    }
}

static void take_read(struct call *call, void *result)
{
    READ3res *read = result;
    call->nfs_status = read->status;
    if (read->status != NFS3_OK)
        return;
    READ3resok *ok = &read->READ3res_u.resok;
    if (ok->data.data_len != call->expected_bytes || memcmp(ok->data.data_val, call->expected, ok->data.data_len))
        fail("READ", "the file does not contain what was written");
}

void verify_written(struct rpc_context *rpc)
{
    for (uint64_t block = 0; block < options.file_bytes / options.io_bytes; block++) {
        if (!written[block])
            continue;
        uint64_t offset = block * options.io_bytes;
        struct call call = { .take = take_read, .expected = image + offset, .expected_bytes = options.io_bytes };
        READ3args args = { .file = as_fh3(&target.file), .offset = offset, .count = options.io_bytes };
        wait_for(rpc, &call, rpc_nfs3_read_async(rpc, answered, &args, &call), "READ");
        must_be_ok(&call, "READ");
    }
}

void prepare(struct rpc_context *rpc)
{
    struct handle root;
    struct call details = { 0 };
    mount_export(&root);
    need_directory(rpc, &root, options.directory, &target.directory);
    if (options.operation == READDIRPLUS) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "listed-%d", options.entries);
        need_directory(rpc, &target.directory, name, &target.listed);
        for (int i = 0; i < options.entries; i++) {
            struct handle ignored;
            snprintf(name, sizeof name, "entry-%06d", i);
            need_file(rpc, &target.listed, name, &ignored, NULL);
            target.names_sum += name_hash(name);
        }
    } else if (options.operation != NULL_CALL && options.operation != CREATE) {
        /* A file for writing of its own: what is read must keep its seed. */
        need_file(rpc, &target.directory, options.operation == WRITE ? "written" : "read", &target.file, &details);
        target.fileid = details.fileid;
        if (details.size < options.file_bytes)
            fill(rpc, details.size);
    }
}
