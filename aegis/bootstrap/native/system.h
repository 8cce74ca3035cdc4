/* Numbers of system calls (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h) and of flags. */
#ifndef SYSTEM_H
#define SYSTEM_H

#if defined(__x86_64__)
enum {
    SYS_read = 0, SYS_write = 1, SYS_close = 3, SYS_mmap = 9, SYS_munmap = 11, SYS_sigprocmask = 14, SYS_mremap = 25,
    SYS_socket = 41, SYS_connect = 42, SYS_sendto = 44, SYS_recvfrom = 45, SYS_getsockopt = 55, SYS_clone = 56,
    SYS_execve = 59, SYS_wait4 = 61, SYS_kill = 62, SYS_fcntl = 72, SYS_chdir = 80, SYS_setsid = 112,
    SYS_clock_gettime = 228, SYS_exit_group = 231, SYS_openat = 257, SYS_faccessat = 269, SYS_ppoll = 271,
    SYS_signalfd4 = 289, SYS_dup3 = 292, SYS_pipe2 = 293, SYS_getrandom = 318,
};
enum { O_DIRECTORY = 0x10000 };
#elif defined(__aarch64__)
enum {
    SYS_dup3 = 24, SYS_fcntl = 25, SYS_faccessat = 48, SYS_chdir = 49, SYS_openat = 56, SYS_close = 57, SYS_pipe2 = 59,
    SYS_read = 63, SYS_write = 64, SYS_ppoll = 73, SYS_signalfd4 = 74, SYS_exit_group = 94, SYS_clock_gettime = 113,
    SYS_kill = 129, SYS_sigprocmask = 135, SYS_setsid = 157, SYS_socket = 198, SYS_connect = 203, SYS_sendto = 206,
    SYS_recvfrom = 207, SYS_getsockopt = 209, SYS_munmap = 215, SYS_mremap = 216, SYS_clone = 220, SYS_execve = 221,
    SYS_mmap = 222, SYS_wait4 = 260, SYS_getrandom = 278,
};
enum { O_DIRECTORY = 0x4000 };
#else
#error "no system calls are known for this architecture"
#endif

enum { O_RDONLY = 0, O_NONBLOCK = 0x800, O_CLOEXEC = 0x80000, O_PATH = 0x200000, AT_FDCWD = -100, X_OK = 1 };
enum { AF_INET = 2, AF_INET6 = 10, SOCK_STREAM = 1, SOCK_DGRAM = 2, MSG_NOSIGNAL = 0x4000 };
enum { F_SETFL = 4, WNOHANG = 1, SOL_SOCKET = 1, SO_ERROR = 4 };
enum { SIGINT = 2, SIGKILL = 9, SIGTERM = 15, SIGCHLD = 17 };
enum { ENOENT = 2, EINTR = 4, E2BIG = 7, ENOEXEC = 8, EAGAIN = 11, ENOMEM = 12, EACCES = 13, ENOTDIR = 20, EISDIR = 21,
       ETXTBSY = 26, ENAMETOOLONG = 36, ELOOP = 40, EINPROGRESS = 115 };

#define CALL(number, ...) CALL_(number, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(number, a, b, c, d, e, f, ...) \
    system_call(number, (i64)(a), (i64)(b), (i64)(c), (i64)(d), (i64)(e), (i64)(f))

#endif
