/* The agent's side of the dispatch protocol without an interpreter or a C library: what its files share.

   The rules to know: it runs in images we know nothing about, so it needs nothing of them but a kernel (Linux 2.6.27):
   system calls are made directly, memory comes from mmap, numbers are integers (milliseconds, bytes). bootstrap.py beside
   it says the same in Python, and one contract suite holds the two equal. What goes wrong with a command is a result;
   what goes wrong with the orchestrator is tried again; everything else ends the program with a line that says why. */
#ifndef AGENT_H
#define AGENT_H

#include <stdarg.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long usize;
typedef long i64;

#define OUTPUT_BYTES_DEFAULT (512 * 1024)
#define OUTPUT_BYTES_MAX (4 * 1024 * 1024) /* whatever the dispatch says: this memory is the container's */
#define REPLY_BYTES_MAX (64 * 1024 * 1024) /* a final response carries the whole conversation */
#define READ_BYTES (64 * 1024)
#define BACKOFF_FIRST_MS 200
#define BACKOFF_MAX_MS 10000
#define ANSWER_SLACK_MS 15000 /* on top of the model's own time: the orchestrator's work and the network's */
#define OUTAGE_MS 90000       /* a restart of the daemon, with room */
#define DRAIN_MS 500          /* for output still in the pipe when the command has ended */
#define STREAM_BYTES 8192     /* of each stream in one message of output: a tail, like everything here */
#define STREAM_PAUSE_MS 500   /* between two of them, and a hundredth of the time the command has run already */
#define STREAM_PATIENCE_MS 5000
#define LEFT_BEHIND_MAX 256 /* pipes that outlive their command; beyond that the oldest is closed */
#define GROUPS_MAX 4096     /* process groups remembered for the end; the oldest is forgotten */

/* ---- system.c: the kernel, memory, time, the log ---- */

struct span {
    const char *at;
    usize size;
};

/* Bytes that grow. `at` moves when it does. */
struct text {
    char *at;
    usize size, room;
};

struct pollfd {
    int fd;
    short events, revents;
};

enum { POLL_IN = 1, POLL_OUT = 4 };

i64 system_call(i64 number, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f);
i64 now_ms(void);
u32 random_below(u32 bound);
_Noreturn void leave(int code);
_Noreturn void gave_up(const char *format, ...);
void say(const char *format, ...);

usize length_of(const char *string);
int equal(struct span span, const char *string);
struct span span_of(const char *string);
struct span whole(const struct text *text);
const char *environment_get(const char *name);
char **environment_all(void);

void make_room(struct text *text, usize more);
void add(struct text *text, const void *bytes, usize size);
void add_string(struct text *text, const char *string);
void release(struct text *text);
const char *terminated(struct text *text);
/* %s a string, %d an i64, %v a struct span, %j a struct span as a JSON string */
void add_format(struct text *text, const char *format, ...);
void add_arguments(struct text *text, const char *format, va_list arguments);

void *memcpy(void *to, const void *from, usize size);
void *memmove(void *to, const void *from, usize size);
void *memset(void *to, int value, usize size);
void *memory_map(usize size);
void memory_unmap(void *at, usize size);
i64 open_file(const char *path, int flags);
i64 read_file(const char *path, char *into, usize size);

/* ---- text.c: JSON and UTF-8 ---- */

int json_is_object(struct span document);
int json_member(struct span object, const char *key, struct span *value);
int json_string(struct span value, struct text *into);
int json_next(struct span *rest, struct span *key, struct span *value);
i64 json_thousandths(struct span number, i64 otherwise);
i64 decimal_thousandths(const char *text, usize size, i64 otherwise);
void add_json_string(struct text *text, struct span bytes);
usize incomplete_end(struct span bytes);

/* ---- http.c: one address and one token ---- */

struct orchestrator {
    struct text host, prefix, headers; /* `prefix` is the path of the protocol, `headers` those of every call */
    int port;
    i64 attempt_ms, call_ms;
};

void orchestrator_open(struct orchestrator *o, const char *url, const char *token, const char *execution_id, i64 llm_ms);
/* Repeats until answered; returns the JSON object, which lives until the next call. Leaves when refused for good. */
struct span orchestrator_call(struct orchestrator *o, const char *method, const char *path, struct span body);
void add_request(struct text *request, struct orchestrator *o, const char *method, const char *path, struct span body);
int connect_begin(struct orchestrator *o, const char **why);

/* ---- resolve.c ---- */

struct address {
    u8 bytes[28]; /* a sockaddr_in or sockaddr_in6 */
    u32 size;
};

int resolve(const char *host, int port, struct address *address);

/* ---- wait.c: the one place that waits ---- */

void wait_prepare(void);
/* Until one of `fds` is ready, a child has changed, or the time is over. A stop signal ends the program. */
void wait_for(struct pollfd *fds, int count, i64 until_ms);
void signals_for_child(void);
void leave_behind(int pipe);
void remember_group(i64 group);

/* ---- stream.c: output while it runs ---- */

struct courier {
    struct orchestrator *orchestrator;
    struct text request, fresh[2];
    struct span execution_id, dispatch_id;
    usize sent;
    i64 started_ms, next_ms, patience_ms, sequence, skipped;
    int socket, refused;
};

void courier_take(struct courier *c, int stream, const char *bytes, usize size);
i64 courier_deadline(const struct courier *c);
int courier_poll(const struct courier *c, struct pollfd *entry);
void courier_step(struct courier *c);
void courier_end(struct courier *c);

/* ---- command.c ---- */

/* Runs what a dispatch says and adds the members of its result to `message`. Always a result. */
void run_dispatch(struct span dispatch, struct orchestrator *o, struct span execution_id, struct text *message);

#endif
