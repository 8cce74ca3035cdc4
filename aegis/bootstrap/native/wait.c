/* The one place that waits: for descriptors, for signals, and for the output of processes that outlived their command.

   A command may leave a process behind that holds its pipe. Its output is read and forgotten from then on, so that the
   process neither blocks nor dies of SIGPIPE. */
#include "agent.h"
#include "system.h"

#define OWN_FDS_MAX 4

static int signals = -1;
static int left_behind[LEFT_BEHIND_MAX], left_behind_count;
static i64 groups[GROUPS_MAX];
static usize groups_seen;

static u32 bit(int number)
{
    return 1u << (number - 1);
}

void wait_prepare(void)
{
    usize set = bit(SIGINT) | bit(SIGTERM) | bit(SIGCHLD);
    CALL(SYS_sigprocmask, 0 /* SIG_BLOCK */, &set, 0, sizeof set);
    signals = (int)CALL(SYS_signalfd4, -1, &set, sizeof set, O_CLOEXEC | O_NONBLOCK);
    if (signals < 0)
        gave_up("the kernel gives no signalfd (error %d)", (i64)-signals);
}

void signals_for_child(void)
{
    usize none = 0;
    CALL(SYS_sigprocmask, 2 /* SIG_SETMASK */, &none, 0, sizeof none);
}

void remember_group(i64 group)
{
    groups[groups_seen++ % GROUPS_MAX] = group;
}

static _Noreturn void stop(u32 signal)
{
    say("stopped by %s", signal == SIGINT ? "SIGINT" : "SIGTERM");
    for (usize i = 0; i < groups_seen && i < GROUPS_MAX; i++)
        CALL(SYS_kill, -groups[i], SIGKILL);
    leave(1);
}

/* 1 when a child has changed. */
static int read_signals(void)
{
    u32 record[32]; /* struct signalfd_siginfo: 128 bytes, the number first */
    int changed = 0;
    while (CALL(SYS_read, signals, record, sizeof record) == sizeof record) {
        if (record[0] != SIGCHLD)
            stop(record[0]);
        changed = 1;
    }
    return changed;
}

void leave_behind(int pipe)
{
    if (left_behind_count == LEFT_BEHIND_MAX) {
        CALL(SYS_close, left_behind[0]);
        left_behind_count--;
        for (int i = 0; i < left_behind_count; i++)
            left_behind[i] = left_behind[i + 1];
    }
    left_behind[left_behind_count++] = pipe;
}

static void forget_output(int index)
{
    static char nowhere[READ_BYTES];
    i64 got = CALL(SYS_read, left_behind[index], nowhere, sizeof nowhere);
    if (got == 0 || (got < 0 && got != -EAGAIN && got != -EINTR)) {
        CALL(SYS_close, left_behind[index]);
        left_behind[index] = left_behind[--left_behind_count];
    }
}

void wait_for(struct pollfd *fds, int count, i64 until_ms)
{
    static struct pollfd all[1 + OWN_FDS_MAX + LEFT_BEHIND_MAX];
    for (;;) {
        int others = 1 + count, ready = 0;
        all[0] = (struct pollfd){ signals, POLL_IN, 0 };
        for (int i = 0; i < count; i++)
            all[1 + i] = fds[i];
        for (int i = 0; i < left_behind_count; i++)
            all[others + i] = (struct pollfd){ left_behind[i], POLL_IN, 0 };
        i64 left = until_ms - now_ms();
        if (left < 0)
            left = 0;
        struct { i64 seconds, nanoseconds; } time = { left / 1000, left % 1000 * 1000000 };
        i64 got = CALL(SYS_ppoll, all, others + left_behind_count, &time, 0, 8);
        for (int i = 0; i < count; i++) {
            fds[i].revents = got > 0 ? all[1 + i].revents : 0;
            ready |= fds[i].revents;
        }
        if (got > 0)
            for (int i = left_behind_count - 1; i >= 0; i--)
                if (all[others + i].revents)
                    forget_output(i);
        if ((got > 0 && all[0].revents && read_signals()) || ready || now_ms() >= until_ms)
            return;
    }
}
