/*
 * Preloaded into User Mode Linux on a CPU with AMX (see wide_state.py): ptrace(2) that restores all of the registers.
 *
 * UML 6.1 keeps the extended registers of its processes in a buffer of 2,696 bytes, all that AVX-512 needs. The host's
 * kernel takes nothing but the whole area back (xstateregs_set: EFAULT), which on a CPU with AMX has 11,008 bytes, so
 * that UML dies at its first process: "ptrace set fp regs failed, errno = 14". Zeros behind UML's bytes are right: its
 * processes never asked for AMX (arch_prctl), so the header's mask says that the rest is unused. A length beyond the
 * area's is cut by the kernel (ptrace_regset).
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char whole[1 << 16]; /* UML has one thread that restores registers */

long ptrace(enum __ptrace_request request, ...)
{
    va_list rest;
    va_start(rest, request);
    pid_t pid = va_arg(rest, pid_t);
    void *address = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);

    struct iovec longer = {whole, sizeof whole};
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE) {
        const struct iovec *given = data;
        if (given->iov_len < sizeof whole) {
            memcpy(whole, given->iov_base, given->iov_len);
            data = &longer;
        }
    }
    if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
        long word; /* the C library gives these back as the result */
        if (syscall(SYS_ptrace, request, pid, address, &word) < 0)
            return -1;
        errno = 0;
        return word;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
