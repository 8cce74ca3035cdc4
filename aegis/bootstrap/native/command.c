/* Runs what a dispatch says: an argument vector, never a shell; in a process group of its own, that is killed as one; its
   output bounded while it is read, keeping the end. Whatever goes wrong is told to the model as the command's outcome. */
#include "agent.h"
#include "system.h"

enum { EXIT_NOT_RUN = -1, EXIT_CANNOT_EXECUTE = 126, EXIT_NOT_FOUND = 127 };

/* The last `bytes_max` bytes of a pipe: twice the room, so that moving is rare. */
struct tail {
    char *at;
    usize size, bytes_max;
    int pipe, truncated;
};

static void tail_add(struct tail *tail, const char *bytes, usize size)
{
    if (tail->size + size > tail->bytes_max)
        tail->truncated = 1;
    if (size > tail->bytes_max) {
        bytes += size - tail->bytes_max;
        size = tail->bytes_max;
    }
    if (tail->size + size > 2 * tail->bytes_max) {
        usize kept = tail->bytes_max - size;
        memmove(tail->at, tail->at + tail->size - kept, kept);
        tail->size = kept;
    }
    memcpy(tail->at + tail->size, bytes, size);
    tail->size += size;
}

static struct span tail_end(const struct tail *tail)
{
    usize size = tail->size < tail->bytes_max ? tail->size : tail->bytes_max;
    return (struct span){ tail->at + tail->size - size, size };
}

static void tail_read(struct tail *tail, struct courier *courier, int stream)
{
    static char chunk[READ_BYTES];
    i64 got = CALL(SYS_read, tail->pipe, chunk, sizeof chunk);
    if (got > 0) {
        tail_add(tail, chunk, (usize)got);
        courier_take(courier, stream, chunk, (usize)got);
    } else if (got != -EAGAIN && got != -EINTR) {
        CALL(SYS_close, tail->pipe);
        tail->pipe = -1;
    }
}

static void add_outcome(struct text *message, i64 code, struct span out, struct span err, i64 duration_ms, int truncated)
{
    add_format(message, "\"exit_code\":%d,\"stdout\":%j,\"stderr\":%j,\"duration_ms\":%d,\"truncated\":%s", code, out, err,
               duration_ms, truncated ? "true" : "false");
}

static void add_refusal(struct text *message, i64 code, const char *format, ...)
{
    struct text words = { 0, 0, 0 };
    va_list arguments;
    va_start(arguments, format);
    add_arguments(&words, format, arguments);
    va_end(arguments);
    add_outcome(message, code, (struct span){ "", 0 }, whole(&words), 0, 0);
    release(&words);
}

static const char *error_words(i64 error)
{
    switch (error) {
    case E2BIG: return "Argument list too long";
    case ENOEXEC: return "Exec format error";
    case EACCES: return "Permission denied";
    case EISDIR: return "Is a directory";
    case ETXTBSY: return "Text file busy";
    case ENAMETOOLONG: return "File name too long";
    case ELOOP: return "Too many levels of symbolic links";
    case ENOMEM: return "Cannot allocate memory";
    case EAGAIN: return "Too many processes: the pids limit is met";
    default: return "the kernel refuses it";
    }
}

/* ---- what is run ---- */

/* Strings one after the other, and a vector of pointers to them. */
struct vector {
    struct text bytes;
    usize count;
    char **pointers;
    int has_nul;
};

static void vector_add(struct vector *vector, struct span bytes)
{
    for (usize i = 0; i < bytes.size; i++)
        vector->has_nul |= !bytes.at[i];
    add(&vector->bytes, bytes.at, bytes.size);
    add(&vector->bytes, "", 1);
    vector->count++;
}

static void vector_close(struct vector *vector)
{
    vector->pointers = memory_map((vector->count + 1) * sizeof(char *));
    char *at = vector->bytes.at;
    for (usize i = 0; i < vector->count; i++) {
        vector->pointers[i] = at;
        at += length_of(at) + 1;
    }
}

static void vector_release(struct vector *vector)
{
    if (vector->pointers)
        memory_unmap(vector->pointers, (vector->count + 1) * sizeof(char *));
    release(&vector->bytes);
}

/* A string's bytes, or a number or a word as it stands. */
static void add_value(struct text *into, struct span value)
{
    if (!json_string(value, into))
        add(into, value.at, value.size);
}

static int name_is(struct span entry, struct span name)
{
    if (entry.size <= name.size || entry.at[name.size] != '=')
        return 0;
    for (usize i = 0; i < name.size; i++)
        if (entry.at[i] != name.at[i])
            return 0;
    return 1;
}

/* The container's own without the dispatch token: a command has no business with it, and often prints its own. */
static void add_environment(struct vector *environment, struct span additions)
{
    struct span rest, key, value;
    struct text entry = { 0, 0, 0 }, name = { 0, 0, 0 };
    for (char **own = environment_all(); *own; own++) {
        int replaced = name_is(span_of(*own), span_of("AEGIS_DISPATCH_TOKEN"));
        for (rest = additions; !replaced && json_next(&rest, &key, &value); name.size = 0) {
            json_string((struct span){ key.at - 1, key.size + 2 }, &name);
            replaced = name_is(span_of(*own), whole(&name));
        }
        if (!replaced)
            vector_add(environment, span_of(*own));
    }
    for (rest = additions; json_next(&rest, &key, &value); entry.size = 0) {
        json_string((struct span){ key.at - 1, key.size + 2 }, &entry);
        add(&entry, "=", 1);
        add_value(&entry, value);
        vector_add(environment, whole(&entry));
    }
    release(&entry);
    release(&name);
}

/* In the child: replaced by the program, or the error. PATH is the new environment's, as for Python's subprocess. */
static i64 execute(char **argv, char **envp)
{
    const char *path = "/bin:/usr/bin";
    i64 saved = -ENOENT;
    for (char **entry = envp; *entry; entry++)
        if (name_is(span_of(*entry), span_of("PATH")))
            path = *entry + 5;
    for (const char *at = argv[0]; *at; at++)
        if (*at == '/')
            return CALL(SYS_execve, argv[0], argv, envp);
    while (*path) {
        struct text candidate = { 0, 0, 0 };
        const char *end = path;
        while (*end && *end != ':')
            end++;
        if (end > path)
            add_format(&candidate, "%v/%s", (struct span){ path, (usize)(end - path) }, argv[0]);
        else
            add_string(&candidate, argv[0]); /* an empty part of PATH is the working directory */
        i64 error = CALL(SYS_execve, terminated(&candidate), argv, envp);
        if (error != -ENOENT && error != -ENOTDIR && saved == -ENOENT)
            saved = error;
        release(&candidate);
        path = *end ? end + 1 : end;
    }
    return saved;
}

static _Noreturn void child(const char *cwd, char **argv, char **envp, int out, int err, int report)
{
    signals_for_child();
    CALL(SYS_setsid);
    i64 nothing = open_file("/dev/null", O_RDONLY);
    if (nothing >= 0)
        CALL(SYS_dup3, nothing, 0, 0);
    CALL(SYS_dup3, out, 1, 0);
    CALL(SYS_dup3, err, 2, 0);
    i64 error = CALL(SYS_chdir, cwd);
    if (!error)
        error = execute(argv, envp);
    CALL(SYS_write, report, &error, sizeof error);
    leave(127);
}

static int is_directory(const char *path)
{
    i64 fd = open_file(path, O_PATH | O_DIRECTORY);
    if (fd >= 0)
        CALL(SYS_close, fd);
    return fd >= 0;
}

/* ---- a command's life ---- */

/* The process id, or a negative error of its start. */
static i64 start(const char *cwd, char **argv, char **envp, struct tail *tails)
{
    int out[2] = { -1, -1 }, err[2] = { -1, -1 }, report[2] = { -1, -1 };
    i64 pid, error = 0;
    if ((pid = CALL(SYS_pipe2, out, O_CLOEXEC)) || (pid = CALL(SYS_pipe2, err, O_CLOEXEC)) ||
        (pid = CALL(SYS_pipe2, report, O_CLOEXEC)))
        gave_up("no pipe can be made (error %d)", -pid);
    pid = CALL(SYS_clone, SIGCHLD);
    if (pid == 0)
        child(cwd, argv, envp, out[1], err[1], report[1]);
    CALL(SYS_close, out[1]);
    CALL(SYS_close, err[1]);
    CALL(SYS_close, report[1]);
    if (pid < 0)
        error = pid;
    else if (CALL(SYS_read, report[0], &error, sizeof error) == sizeof error)
        CALL(SYS_wait4, pid, 0, 0, 0);
    CALL(SYS_close, report[0]);
    if (error) {
        CALL(SYS_close, out[0]);
        CALL(SYS_close, err[0]);
        return error;
    }
    tails[0].pipe = out[0];
    tails[1].pipe = err[0];
    for (int i = 0; i < 2; i++)
        CALL(SYS_fcntl, tails[i].pipe, F_SETFL, O_NONBLOCK);
    remember_group(pid);
    return pid;
}

/* Until it has ended and its output is read, or it was killed; the exit code. */
static i64 follow(i64 pid, i64 timeout_ms, struct tail *tails, struct courier *courier, int *timed_out)
{
    i64 deadline = now_ms() + timeout_ms, drained = 0;
    int status = 0, ended = 0;
    for (;;) {
        struct pollfd entries[3];
        int count = 0, tail_of[3];
        for (int i = 0; i < 2; i++)
            if (tails[i].pipe >= 0) {
                tail_of[count] = i;
                entries[count++] = (struct pollfd){ tails[i].pipe, POLL_IN, 0 };
            }
        int pipes = count;
        count += courier_poll(courier, &entries[count]);
        i64 until = ended ? drained : *timed_out ? now_ms() + 1000 : deadline, other = courier_deadline(courier);
        if (!ended || pipes)
            wait_for(entries, count, until < other ? until : other);
        for (int i = 0; i < pipes; i++)
            if (entries[i].revents)
                tail_read(&tails[tail_of[i]], courier, tail_of[i]);
        if (!ended && CALL(SYS_wait4, pid, &status, WNOHANG, 0) == pid) {
            ended = 1;
            drained = now_ms() + DRAIN_MS;
        }
        if (ended && ((tails[0].pipe < 0 && tails[1].pipe < 0) || now_ms() >= drained))
            break;
        if (!ended && !*timed_out && now_ms() >= deadline) {
            CALL(SYS_kill, -pid, SIGKILL); /* what changed its user is not ours to kill */
            *timed_out = 1;
        }
        courier_step(courier);
    }
    if (*timed_out)
        return EXIT_NOT_RUN;
    return status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff; /* as shells say it: -1 means we did it */
}

static void add_note(struct text *err, struct span written, i64 timeout_ms)
{
    while (written.size && (u8)written.at[written.size - 1] <= ' ')
        written.size--;
    while (written.size && (u8)written.at[0] <= ' ')
        written.at++, written.size--;
    add(err, written.at, written.size);
    add_format(err, written.size ? "\ntimed out after %d" : "timed out after %d", timeout_ms / 1000);
    if (timeout_ms % 1000) {
        char digits[] = { '.', (char)('0' + timeout_ms / 100 % 10), (char)('0' + timeout_ms / 10 % 10),
                          (char)('0' + timeout_ms % 10) };
        usize size = digits[3] != '0' ? 4 : digits[2] != '0' ? 3 : 2;
        add(err, digits, size);
    }
    add_string(err, " s and was killed");
}

static void run(struct span dispatch, const char *cwd, struct vector *argv, struct courier *courier, struct text *message)
{
    struct span value;
    struct vector environment = { { 0, 0, 0 }, 0, 0, 0 };
    struct text err = { 0, 0, 0 };
    json_member(dispatch, "env_additions", &value);
    add_environment(&environment, value);
    vector_close(&environment);
    json_member(dispatch, "timeout_secs", &value);
    i64 timeout_ms = json_thousandths(value, 0);
    if (timeout_ms <= 0)
        timeout_ms = 60000;
    json_member(dispatch, "max_output_bytes", &value);
    i64 bytes_max = json_thousandths(value, 0) / 1000;
    if (bytes_max <= 0)
        bytes_max = OUTPUT_BYTES_DEFAULT;
    if (bytes_max > OUTPUT_BYTES_MAX)
        bytes_max = OUTPUT_BYTES_MAX;
    i64 started = now_ms(), pid = 0;
    struct tail tails[2] = { { 0, 0, (usize)bytes_max, -1, 0 }, { 0, 0, (usize)bytes_max, -1, 0 } };
    if (!argv->has_nul && !environment.has_nul)
        pid = start(cwd, argv->pointers, environment.pointers, tails);
    const char *command = argv->pointers[0];
    if (!pid) {
        add_refusal(message, EXIT_CANNOT_EXECUTE, "%s: cannot be run: embedded null byte", command);
    } else if (pid == -ENOENT || pid == -ENOTDIR) {
        add_refusal(message, EXIT_NOT_FOUND, "%s: command not found", command);
    } else if (pid < 0) {
        add_refusal(message, EXIT_CANNOT_EXECUTE, "%s: cannot be run: [Errno %d] %s", command, -pid, error_words(-pid));
    } else {
        int timed_out = 0;
        for (int i = 0; i < 2; i++)
            tails[i].at = memory_map(2 * (usize)bytes_max);
        i64 code = follow(pid, timeout_ms, tails, courier, &timed_out);
        struct span written = tail_end(&tails[1]);
        if (timed_out) {
            add_note(&err, written, timeout_ms);
            written = whole(&err);
        }
        add_outcome(message, code, tail_end(&tails[0]), written, now_ms() - started,
                    tails[0].truncated || tails[1].truncated);
        for (int i = 0; i < 2; i++) {
            if (tails[i].pipe >= 0)
                leave_behind(tails[i].pipe);
            memory_unmap(tails[i].at, 2 * (usize)bytes_max);
        }
    }
    vector_release(&environment);
    release(&err);
}

void run_dispatch(struct span dispatch, struct orchestrator *o, struct span execution_id, struct text *message)
{
    struct span action, command, args, cwd, key, value, id;
    struct text words = { 0, 0, 0 }, directory = { 0, 0, 0 };
    struct vector argv = { { 0, 0, 0 }, 0, 0, 0 };
    int has_action = json_member(dispatch, "action", &action), has_args = json_member(dispatch, "args", &args);
    json_member(dispatch, "command", &command);
    json_member(dispatch, "cwd", &cwd);
    json_member(dispatch, "dispatch_id", &id);
    if (!has_action || equal(action, "null"))
        add_string(&words, "None");
    else
        add_value(&words, action);
    if (!equal(action, "\"exec\"")) {
        add_refusal(message, EXIT_NOT_RUN, "unknown_action:%v", whole(&words));
        release(&words);
        return;
    }
    words.size = 0;
    if (!json_string(command, &words) || (has_args && args.at[0] != '[')) {
        add_refusal(message, EXIT_NOT_RUN, "malformed dispatch: command must be text, args a list");
        release(&words);
        return;
    }
    vector_add(&argv, whole(&words));
    for (words.size = 0; has_args && json_next(&args, &key, &value); words.size = 0) {
        add_value(&words, value);
        vector_add(&argv, whole(&words));
    }
    vector_close(&argv);
    if (!json_string(cwd, &directory) || !directory.size)
        add_string(&directory, "/workspace");
    if (is_directory(terminated(&directory))) {
        i64 now = now_ms();
        struct courier courier = { .orchestrator = o, .execution_id = execution_id, .dispatch_id = id, .socket = -1,
                                   .started_ms = now, .next_ms = now + STREAM_PAUSE_MS };
        run(dispatch, terminated(&directory), &argv, &courier, message);
        courier_end(&courier);
    } else {
        add_refusal(message, EXIT_NOT_RUN, "the working directory %v does not exist in this container", whole(&directory));
    }
    vector_release(&argv);
    release(&words);
    release(&directory);
}
