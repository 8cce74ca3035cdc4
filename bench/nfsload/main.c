/* Options, the loop, the report. `nfsload --help` says how it is used. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "nfsload.h"

static const char USAGE[] =
    "Usage: nfsload [OPTION]... OPERATION\n"
    "Keep calls outstanding on an NFSv3 server and print one line of JSON about the answers.\n"
    "\n"
    "OPERATION: null getattr lookup access setattr read write create readdirplus\n"
    "  (create: CREATE and REMOVE of names of its own, each counted; setattr: mtime to the server's time;\n"
    "  readdirplus: whole listings, over and over)\n"
    "\n"
    "  --host H             the server (127.0.0.1)          --port N         its port (2049)\n"
    "  --export PATH        what to mount                   --mount-port N   of the MOUNT program (= port)\n"
    "  --directory NAME     made and used below the export (nfsload)\n"
    "  --uid N              AUTH_SYS uid and gid (ours)\n"
    "  --connections N      (1)                             --outstanding N  calls on each connection (1)\n"
    "  --seconds S          measured (3)                    --warmup S       not measured (0.5)\n"
    "  --io-bytes N         of a READ or WRITE (4096)       --file-mib N     of the file (64)\n"
    "  --random             random offsets                  --entries N      of the listed directory (1000)\n"
    "  --stable N           WRITE: 0 UNSTABLE (default), 1 DATA_SYNC, 2 FILE_SYNC\n"
    "  --commit-mib N       WRITE: wait for all and COMMIT after each N MiB (0: only at the end, not measured)\n"
    "  --unverified         WRITE: do not read back what was written (for a profile of the server)\n"
    "  --seed N             of the contents to be read; the same in each run on one directory\n"
    "  --pid N              a process of the server, whose CPU time is reported; may be repeated\n"
    "\n"
    "Latencies are from the queueing of a call to its decoded answer, in microseconds. Exit status: 0 every answer was\n"
    "right, 1 one was not, or none came (the message says which), 2 wrong use.\n";

static const char *const OPERATIONS[] = { "null", "getattr", "lookup", "access", "setattr",
                                          "read", "write", "create", "readdirplus" };

struct options options = {
    .host = "127.0.0.1", .directory = "nfsload", .port = 2049, .connections = 1, .outstanding = 1, .entries = 1000,
    .seconds = 3, .warmup = 0.5, .file_bytes = 64u << 20, .io_bytes = 4096, .seed = 1,
};

/* ---- options ---- */

enum { HOST = 256, PORT, EXPORT, MOUNT_PORT, DIRECTORY, UID, CONNECTIONS, OUTSTANDING, SECONDS, WARMUP, IO_BYTES,
       FILE_MIB, RANDOM, ENTRIES, STABLE, COMMIT_MIB, UNVERIFIED, SEED, PID, HELP };

static const struct option LONG_OPTIONS[] = {
    { "host", 1, 0, HOST }, { "port", 1, 0, PORT }, { "export", 1, 0, EXPORT }, { "mount-port", 1, 0, MOUNT_PORT },
    { "directory", 1, 0, DIRECTORY }, { "uid", 1, 0, UID }, { "connections", 1, 0, CONNECTIONS },
    { "outstanding", 1, 0, OUTSTANDING }, { "seconds", 1, 0, SECONDS }, { "warmup", 1, 0, WARMUP },
    { "io-bytes", 1, 0, IO_BYTES }, { "file-mib", 1, 0, FILE_MIB }, { "random", 0, 0, RANDOM },
    { "entries", 1, 0, ENTRIES }, { "stable", 1, 0, STABLE }, { "commit-mib", 1, 0, COMMIT_MIB },
    { "unverified", 0, 0, UNVERIFIED }, { "seed", 1, 0, SEED }, { "pid", 1, 0, PID }, { "help", 0, 0, HELP }, { 0, 0, 0, 0 },
};

static _Noreturn void wrong_use(const char *what)
{
    fprintf(stderr, "nfsload: %s\n\n%s", what, USAGE);
    exit(2);
}

static long long number(long long lowest, long long highest)
{
    char *end;
    errno = 0;
    long long value = strtoll(optarg, &end, 10);
    if (errno || *end || end == optarg || value < lowest || value > highest)
        wrong_use(optarg);
    return value;
}

static double seconds(void)
{
    char *end;
    double value = strtod(optarg, &end);
    if (*end || end == optarg || !(value >= 0 && value <= 3600))
        wrong_use(optarg);
    return value;
}

static void take_option(int option)
{
    switch (option) {
    case HOST: options.host = optarg; break;
    case PORT: options.port = (int)number(1, 65535); break;
    case EXPORT: options.export = optarg; break;
    case MOUNT_PORT: options.mount_port = (int)number(1, 65535); break;
    case DIRECTORY: options.directory = optarg; break;
    case UID: options.uid = (int)number(0, 0x7ffffffe); break;
    case CONNECTIONS: options.connections = (int)number(1, CONNECTIONS_MAX); break;
    case OUTSTANDING: options.outstanding = (int)number(1, OUTSTANDING_MAX); break;
    case SECONDS: options.seconds = seconds(); break;
    case WARMUP: options.warmup = seconds(); break;
    case IO_BYTES: options.io_bytes = (uint32_t)number(8, 1 << 20); break;
    case FILE_MIB: options.file_bytes = (uint64_t)number(1, 1 << 14) << 20; break;
    case RANDOM: options.random = true; break;
    case ENTRIES: options.entries = (int)number(1, 999999); break;
    case STABLE: options.stable = (int)number(0, 2); break;
    case COMMIT_MIB: options.commit_bytes = (uint64_t)number(0, 1 << 14) << 20; break;
    case UNVERIFIED: options.unverified = true; break;
    case SEED: options.seed = (uint64_t)number(0, INT64_MAX); break;
    case PID:
        if (options.pid_count == PIDS_MAX)
            wrong_use("too many --pid");
        options.pids[options.pid_count++] = (int)number(1, INT32_MAX);
        break;
    case HELP: fputs(USAGE, stdout); exit(0);
    default: wrong_use("unknown option");
    }
}

static void take_options(int argc, char **argv)
{
    int option, operation = 0, operations = sizeof OPERATIONS / sizeof *OPERATIONS;
    options.uid = (int)getuid();
    while ((option = getopt_long(argc, argv, "", LONG_OPTIONS, NULL)) != -1)
        take_option(option);
    if (argc - optind != 1)
        wrong_use("one OPERATION is wanted");
    while (operation < operations && strcmp(argv[optind], OPERATIONS[operation]))
        operation++;
    if (operation == operations)
        wrong_use("unknown operation");
    options.operation = (enum operation)operation;
    if (!options.export)
        wrong_use("--export is wanted");
    if (options.file_bytes % options.io_bytes || options.io_bytes % 8)
        wrong_use("--io-bytes must be a multiple of 8, and the file one of it");
    if (!options.mount_port)
        options.mount_port = options.port;
}

/* ---- the loop ---- */

static struct rpc_context *connections[CONNECTIONS_MAX];
static struct slot *slots;
static uint64_t began, ended, measure_at, stop_at;
static double cpu, own_cpu;

/* Begin and end of what is measured, when their time has come. */
static void keep_time(void)
{
    uint64_t now = now_ns();
    if (!measuring && !stopping && now >= measure_at) {
        measuring = true;
        began = now;
        stop_at = now + (uint64_t)(options.seconds * 1e9);
        cpu = -servers_cpu_seconds();
        own_cpu = -own_cpu_seconds();
    } else if (measuring && now >= stop_at) {
        measuring = false;
        stopping = true;
        ended = now;
        cpu += servers_cpu_seconds();
        own_cpu += own_cpu_seconds();
    }
}

static void serve_connections(void)
{
    struct pollfd waiting[CONNECTIONS_MAX];
    for (int i = 0; i < options.connections; i++) {
        waiting[i].fd = rpc_get_fd(connections[i]);
        waiting[i].events = (short)rpc_which_events(connections[i]);
        waiting[i].revents = 0;
    }
    if (poll(waiting, (nfds_t)options.connections, ANSWER_SECONDS_MAX * 1000) == 0)
        fail("poll", "no answer from the server");
    for (int i = 0; i < options.connections; i++)
        if (waiting[i].revents && rpc_service(connections[i], waiting[i].revents) < 0)
            fail("connection", rpc_get_error(connections[i]));
}

static void start_all(void)
{
    int total = options.connections * options.outstanding;
    slots = calloc((size_t)total, sizeof *slots);
    if (!slots)
        fail("slots", "no memory");
    measure_at = now_ns() + (uint64_t)(options.warmup * 1e9);
    for (int i = 0; i < total; i++) {
        slots[i].rpc = connections[i % options.connections];
        slots[i].number = i;
        slots[i].random = (uint32_t)i * 2654435761u + 1;
        snprintf(slots[i].name, sizeof slots[i].name, "made-%d-%d", (int)getpid(), i);
        start(&slots[i]);
    }
}

static void report(void)
{
    double elapsed = (double)(ended - began) / 1e9;
    double calls = (double)totals.calls;
    printf("{\"operation\": \"%s\", \"seconds\": %.4f, \"calls\": %llu, \"calls_per_second\": %.1f, "
           "\"mib_per_second\": %.2f, \"entries_per_second\": %.1f, ",
           OPERATIONS[options.operation], elapsed, (unsigned long long)totals.calls, calls / elapsed,
           (double)totals.bytes / elapsed / (1 << 20), (double)totals.entries / elapsed);
    printf("\"p50_us\": %.2f, \"p90_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.2f, ",
           histogram_us(0.5), histogram_us(0.9), histogram_us(0.99), histogram_us(0.999), histogram_max_us());
    if (options.pid_count)
        printf("\"server_cpu_us_per_call\": %.3f, \"server_cpu_share\": %.3f, ", calls ? cpu * 1e6 / calls : 0,
               cpu / elapsed);
    if (totals.commits)
        printf("\"commits\": %llu, \"commit_ms_mean\": %.3f, \"commit_ms_max\": %.3f, ",
               (unsigned long long)totals.commits, (double)totals.commit_ns / 1e6 / (double)totals.commits,
               (double)totals.commit_ns_max / 1e6);
    printf("\"generator_cpu_share\": %.3f}\n", own_cpu / elapsed);
}

int main(int argc, char **argv)
{
    take_options(argc, argv);
    if (options.operation == WRITE)
        options.seed += now_ns(); /* what an earlier run left must not look like what this one wrote */
    if (options.operation != NULL_CALL && options.operation != CREATE && options.operation != READDIRPLUS)
        make_image();
    for (int i = 0; i < options.connections; i++)
        connections[i] = connect_to_nfs(i);
    prepare(connections[0]);
    start_all();
    while (in_flight) {
        keep_time();
        serve_connections();
    }
    if (options.operation == WRITE) {
        commit_at_end(connections[0]);
        while (in_flight)
            serve_connections();
        if (!options.unverified)
            verify_written(connections[0]);
    }
    report();
    return 0;
}
