/* Each operation: how it is asked, and how its answer is checked before it counts. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "nfsload.h"

/* Of a READ the first word of every 512 bytes is checked, and of every 16th READ all of it: a full comparison costs
 * the generator about as much as a fast server needs to send the data, and the two share the machine. */
enum { CHECKED_EVERY_BYTES = 512, CHECKED_WHOLE_EVERY = 16, LISTING_BYTES = 64 << 10 };

struct totals totals;
bool measuring, stopping;
int in_flight;
const char *image;
unsigned char *written;

static uint64_t next_offset, reads, since_commit, commit_asked_at;
static bool committing, verifier_known;
static writeverf3 verifier;
/* Slots that may not go on before a COMMIT. */
static struct slot *waiting[CONNECTIONS_MAX * OUTSTANDING_MAX];
static int waiting_count;

/* ---- contents ---- */

static uint64_t word_at(uint64_t offset)
{
    return (offset + options.seed) * 0x9E3779B97F4A7C15u;
}

void make_image(void)
{
    uint64_t *words = mmap(NULL, options.file_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (words == MAP_FAILED)
        fail("image", "no memory");
    for (uint64_t i = 0; i < options.file_bytes / 8; i++)
        words[i] = word_at(i * 8);
    image = (const char *)words;
    written = calloc(1, options.file_bytes / options.io_bytes);
    if (!written)
        fail("image", "no memory");
}

static bool contents_are_right(const char *data, uint64_t offset, uint32_t length)
{
    if (reads++ % CHECKED_WHOLE_EVERY == 0)
        return memcmp(data, image + offset, length) == 0;
    for (uint32_t i = 0; i + 8 <= length; i += CHECKED_EVERY_BYTES)
        if (memcmp(data + i, image + offset + i, 8))
            return false;
    return memcmp(data + length - 8, image + offset + length - 8, 8) == 0;
}

/* ---- the end of a call ---- */

static void check_transport(struct slot *slot, int status, const char *what)
{
    in_flight--;
    if (status != RPC_STATUS_SUCCESS)
        fail(what, rpc_get_error(slot->rpc));
}

static void check_status(nfsstat3 status, const char *what)
{
    if (status != NFS3_OK)
        fail(what, nfsstat3_to_str((int)status));
}

static void count(struct slot *slot, uint64_t bytes)
{
    if (measuring) {
        histogram_add(now_ns() - slot->asked_at);
        totals.calls++;
        totals.bytes += bytes;
    }
    if (!stopping || slot->made)
        start(slot);
}

static void null_answered(struct rpc_context *rpc, int status, void *result, void *private)
{
    (void)rpc, (void)result;
    check_transport(private, status, "NULL");
    count(private, 0);
}

static void check_attributes(const fattr3 *attributes, const char *what)
{
    if (attributes->type != NF3REG || attributes->size != options.file_bytes || attributes->fileid != target.fileid)
        fail(what, "attributes of some other file");
}

static void check_post_op(const post_op_attr *post, const char *what)
{
    if (post->attributes_follow)
        check_attributes(&post->post_op_attr_u.attributes, what);
}

static void getattr_answered(struct rpc_context *rpc, int status, void *result, void *private)
{
    GETATTR3res *answer = result;
    (void)rpc;
    check_transport(private, status, "GETATTR");
    check_status(answer->status, "GETATTR");
    check_attributes(&answer->GETATTR3res_u.resok.obj_attributes, "GETATTR");
    count(private, 0);
}

static void lookup_answered(struct rpc_context *rpc, int status, void *result, void *private)
{
    LOOKUP3res *answer = result;
    (void)rpc;
    check_transport(private, status, "LOOKUP");
    check_status(answer->status, "LOOKUP");
    LOOKUP3resok *ok = &answer->LOOKUP3res_u.resok;
    if (ok->object.data.data_len != target.file.length ||
        memcmp(ok->object.data.data_val, target.file.bytes, target.file.length))
        fail("LOOKUP", "a handle of some other file");
    check_post_op(&ok->obj_attributes, "LOOKUP");
    count(private, 0);
}

static void access_answered(struct rpc_context *rpc, int status, void *result, void *private)
{
    ACCESS3res *answer = result;
    (void)rpc;
    check_transport(private, status, "ACCESS");
    check_status(answer->status, "ACCESS");
    if (!(answer->ACCESS3res_u.resok.access & ACCESS3_READ))
        fail("ACCESS", "no right to read");
    check_post_op(&answer->ACCESS3res_u.resok.obj_attributes, "ACCESS");
    count(private, 0);
}

static void setattr_answered(struct rpc_context *rpc, int status, void *result, void *private)
{
    SETATTR3res *answer = result;
    (void)rpc;
    check_transport(private, status, "SETATTR");
    check_status(answer->status, "SETATTR");
    check_post_op(&answer->SETATTR3res_u.resok.obj_wcc.after, "SETATTR");
    count(private, 0);
}

static void read_answered(struct rpc_context *rpc, int status, void *result, void *private)
{
    READ3res *answer = result;
    struct slot *slot = private;
    (void)rpc;
    check_transport(slot, status, "READ");
    check_status(answer->status, "READ");
    READ3resok *ok = &answer->READ3res_u.resok;
    if (ok->count != options.io_bytes || ok->data.data_len != options.io_bytes)
        fail("READ", "fewer bytes than asked for");
    if (!contents_are_right(ok->data.data_val, slot->offset, options.io_bytes))
        fail("READ", "wrong contents");
    count(slot, options.io_bytes);
}

/* RFC 1813 section 4.8: another verifier means the server has forgotten what was not committed. */
static void check_verifier(const writeverf3 given)
{
    if (verifier_known && memcmp(verifier, given, NFS3_WRITEVERFSIZE))
        fail("WRITE", "the write verifier changed: the server restarted");
    memcpy(verifier, given, NFS3_WRITEVERFSIZE);
    verifier_known = true;
}

static void commit_answered(struct rpc_context *rpc, int status, void *result, void *private)
{
    COMMIT3res *answer = result;
    (void)rpc;
    check_transport(private, status, "COMMIT");
    check_status(answer->status, "COMMIT");
    check_verifier(answer->COMMIT3res_u.resok.verf);
    committing = false;
    uint64_t took = now_ns() - commit_asked_at;
    if (measuring) {
        totals.commits++;
        totals.commit_ns += took;
        if (took > totals.commit_ns_max)
            totals.commit_ns_max = took;
    }
    int ready = waiting_count;
    waiting_count = 0;
    for (int i = 0; i < ready && !stopping; i++)
        start(waiting[i]);
}

static void commit(struct slot *slot)
{
    COMMIT3args args = { .file = as_fh3(&target.file) };
    since_commit = 0;
    committing = true;
    commit_asked_at = now_ns();
    in_flight++;
    if (rpc_nfs3_commit_async(slot->rpc, commit_answered, &args, slot) < 0)
        fail("COMMIT", rpc_get_error(slot->rpc));
}

void commit_at_end(struct rpc_context *rpc)
{
    static struct slot last;
    last.rpc = rpc;
    commit(&last);
}

static void write_answered(struct rpc_context *rpc, int status, void *result, void *private)
{
    WRITE3res *answer = result;
    struct slot *slot = private;
    (void)rpc;
    check_transport(slot, status, "WRITE");
    check_status(answer->status, "WRITE");
    WRITE3resok *ok = &answer->WRITE3res_u.resok;
    if (ok->count != options.io_bytes)
        fail("WRITE", "fewer bytes than given");
    if ((int)ok->committed < options.stable)
        fail("WRITE", "less stable than asked for");
    check_verifier(ok->verf);
    check_post_op(&ok->file_wcc.after, "WRITE");
    count(slot, options.io_bytes);
    /* As a program does that calls fsync: the COMMIT goes when all WRITEs are answered, and nothing goes beside it. */
    if (waiting_count && !in_flight && !committing && !stopping)
        commit(slot);
}

static void create_answered(struct rpc_context *rpc, int status, void *result, void *private)
{
    CREATE3res *answer = result;
    struct slot *slot = private;
    (void)rpc;
    check_transport(slot, status, "CREATE");
    check_status(answer->status, "CREATE");
    if (!answer->CREATE3res_u.resok.obj.handle_follows)
        fail("CREATE", "no handle in the answer");
    slot->made = true;
    count(slot, 0);
}

static void remove_answered(struct rpc_context *rpc, int status, void *result, void *private)
{
    REMOVE3res *answer = result;
    struct slot *slot = private;
    (void)rpc;
    check_transport(slot, status, "REMOVE");
    check_status(answer->status, "REMOVE");
    slot->made = false;
    count(slot, 0);
}

static void take_entry(struct slot *slot, const entryplus3 *entry)
{
    slot->cookie = entry->cookie;
    if (measuring)
        totals.entries++;
    if (!strcmp(entry->name, ".") || !strcmp(entry->name, ".."))
        return;
    slot->listed++;
    slot->names_sum += name_hash(entry->name);
    if (!entry->name_attributes.attributes_follow || !entry->name_handle.handle_follows)
        fail("READDIRPLUS", "an entry without attributes or handle");
}

static void readdirplus_answered(struct rpc_context *rpc, int status, void *result, void *private)
{
    READDIRPLUS3res *answer = result;
    struct slot *slot = private;
    (void)rpc;
    check_transport(slot, status, "READDIRPLUS");
    check_status(answer->status, "READDIRPLUS");
    READDIRPLUS3resok *ok = &answer->READDIRPLUS3res_u.resok;
    memcpy(slot->verifier, ok->cookieverf, sizeof slot->verifier);
    for (const entryplus3 *entry = ok->reply.entries; entry; entry = entry->nextentry)
        take_entry(slot, entry);
    if (ok->reply.eof) {
        if (slot->listed != (uint64_t)options.entries || slot->names_sum != target.names_sum)
            fail("READDIRPLUS", "a listing with other names than there are");
        slot->listed = slot->names_sum = slot->cookie = 0;
        memset(slot->verifier, 0, sizeof slot->verifier);
    }
    count(slot, 0);
}

/* ---- the beginning of a call ---- */

static uint64_t choose_offset(struct slot *slot)
{
    uint64_t offset;
    if (options.random) {
        slot->random = slot->random * 1664525u + 1013904223u;
        offset = (uint64_t)(slot->random >> 4) % (options.file_bytes / options.io_bytes) * options.io_bytes;
    } else {
        offset = next_offset;
        next_offset = (next_offset + options.io_bytes) % options.file_bytes;
    }
    return slot->offset = offset;
}

static int start_write(struct slot *slot)
{
    WRITE3args args = { .file = as_fh3(&target.file), .offset = choose_offset(slot), .count = options.io_bytes };
    args.stable = (stable_how)options.stable;
    args.data.data_len = options.io_bytes;
    args.data.data_val = (char *)image + slot->offset;
    written[slot->offset / options.io_bytes] = 1;
    since_commit += options.io_bytes;
    return rpc_nfs3_write_async(slot->rpc, write_answered, &args, slot);
}

static int start_create_or_remove(struct slot *slot)
{
    diropargs3 where = { .dir = as_fh3(&target.directory), .name = slot->name };
    if (slot->made) {
        REMOVE3args args = { .object = where };
        return rpc_nfs3_remove_async(slot->rpc, remove_answered, &args, slot);
    }
    CREATE3args args = { .where = where, .how = { .mode = GUARDED } };
    args.how.createhow3_u.g_obj_attributes.mode.set_it = 1;
    args.how.createhow3_u.g_obj_attributes.mode.set_mode3_u.mode = 0644;
    return rpc_nfs3_create_async(slot->rpc, create_answered, &args, slot);
}

static int start_readdirplus(struct slot *slot)
{
    READDIRPLUS3args args = { .dir = as_fh3(&target.listed), .cookie = slot->cookie };
    args.dircount = args.maxcount = LISTING_BYTES;
    memcpy(args.cookieverf, slot->verifier, sizeof args.cookieverf);
    return rpc_nfs3_readdirplus_async(slot->rpc, readdirplus_answered, &args, slot);
}

static int ask(struct slot *slot)
{
    nfs_fh3 file = as_fh3(&target.file);
    switch (options.operation) {
    case NULL_CALL:
        return rpc_nfs3_null_async(slot->rpc, null_answered, slot);
    case GETATTR: {
        GETATTR3args args = { .object = file };
        return rpc_nfs3_getattr_async(slot->rpc, getattr_answered, &args, slot);
    }
    case LOOKUP: {
        LOOKUP3args args = { .what = { .dir = as_fh3(&target.directory), .name = "read" } };
        return rpc_nfs3_lookup_async(slot->rpc, lookup_answered, &args, slot);
    }
    case ACCESS: {
        ACCESS3args args = { .object = file, .access = 0x3f };
        return rpc_nfs3_access_async(slot->rpc, access_answered, &args, slot);
    }
    case SETATTR: {
        SETATTR3args args = { .object = file };
        args.new_attributes.mtime.set_it = SET_TO_SERVER_TIME;
        return rpc_nfs3_setattr_async(slot->rpc, setattr_answered, &args, slot);
    }
    case READ: {
        READ3args args = { .file = file, .offset = choose_offset(slot), .count = options.io_bytes };
        return rpc_nfs3_read_async(slot->rpc, read_answered, &args, slot);
    }
    case WRITE:
        return start_write(slot);
    case CREATE:
        return start_create_or_remove(slot);
    case READDIRPLUS:
        return start_readdirplus(slot);
    }
    return -1;
}

void start(struct slot *slot)
{
    if (options.commit_bytes && since_commit >= options.commit_bytes) {
        waiting[waiting_count++] = slot;
        return;
    }
    slot->asked_at = now_ns();
    in_flight++;
    if (ask(slot) < 0)
        fail("call", rpc_get_error(slot->rpc));
}
