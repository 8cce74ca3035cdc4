/* The kernel, memory, time and the log. */
#include "agent.h"
#include "system.h"

static char **environment;

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");

i64 system_call(i64 number, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f)
{
    register i64 r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    i64 result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\tand sp, x0, #-16\n\tbl begin\n");

i64 system_call(i64 number, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f)
{
    register i64 x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register i64 x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
#endif

int main(int count, char **arguments);

/* The stack at the start: argc, argv..., 0, envp..., 0. */
__attribute__((used)) _Noreturn void begin(i64 *stack)
{
    environment = (char **)(stack + 1 + stack[0] + 1);
    leave(main((int)stack[0], (char **)(stack + 1)));
}

/* The compiler itself calls these three. */
void *memcpy(void *to, const void *from, usize size)
{
    for (usize i = 0; i < size; i++)
        ((u8 *)to)[i] = ((const u8 *)from)[i];
    return to;
}

void *memmove(void *to, const void *from, usize size)
{
    if ((usize)to <= (usize)from)
        return memcpy(to, from, size);
    while (size--)
        ((u8 *)to)[size] = ((const u8 *)from)[size];
    return to;
}

void *memset(void *to, int value, usize size)
{
    for (usize i = 0; i < size; i++)
        ((u8 *)to)[i] = (u8)value;
    return to;
}

i64 now_ms(void)
{
    struct { i64 seconds, nanoseconds; } time;
    CALL(SYS_clock_gettime, 1 /* CLOCK_MONOTONIC */, &time);
    return time.seconds * 1000 + time.nanoseconds / 1000000;
}

u32 random_below(u32 bound) /* spreads load, keeps no secret */
{
    u32 number = 0;
    if (CALL(SYS_getrandom, &number, sizeof number, 1 /* GRND_NONBLOCK */) != sizeof number)
        number = (u32)now_ms() * 2654435761u;
    return number % bound;
}

_Noreturn void leave(int code)
{
    for (;;)
        CALL(SYS_exit_group, code);
}

/* A line for the container's log, in one write: the container may be killed at any moment. */
static void say_arguments(const char *format, va_list arguments)
{
    static struct text line;
    line.size = 0;
    add_string(&line, "[aegis] ");
    add_arguments(&line, format, arguments);
    add_string(&line, "\n");
    CALL(SYS_write, 1, line.at, line.size);
}

void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say_arguments(format, arguments);
    va_end(arguments);
}

/* Nothing this program can do leads on. */
_Noreturn void gave_up(const char *format, ...)
{
    struct text why = { 0, 0, 0 };
    va_list arguments;
    va_start(arguments, format);
    add_arguments(&why, format, arguments);
    va_end(arguments);
    say("gave up: %v", whole(&why));
    leave(1);
}

/* ---- strings ---- */

usize length_of(const char *string)
{
    usize size = 0;
    while (string[size])
        size++;
    return size;
}

struct span span_of(const char *string)
{
    return (struct span){ string, length_of(string) };
}

struct span whole(const struct text *text)
{
    return (struct span){ text->at, text->size };
}

int equal(struct span span, const char *string)
{
    if (length_of(string) != span.size)
        return 0;
    for (usize i = 0; i < span.size; i++)
        if (span.at[i] != string[i])
            return 0;
    return 1;
}

char **environment_all(void)
{
    return environment;
}

const char *environment_get(const char *name)
{
    usize size = length_of(name);
    for (char **entry = environment; *entry; entry++)
        if (length_of(*entry) > size && (*entry)[size] == '=' && equal((struct span){ *entry, size }, name))
            return *entry + size + 1;
    return 0;
}

/* ---- memory ---- */

void *memory_map(usize size)
{
    i64 at = CALL(SYS_mmap, 0, size, 3 /* PROT_READ|PROT_WRITE */, 0x22 /* MAP_PRIVATE|MAP_ANONYMOUS */, -1, 0);
    if (at < 0 && at > -4096) {
        static const char words[] = "[aegis] gave up: no memory\n";
        CALL(SYS_write, 1, words, sizeof words - 1);
        leave(1);
    }
    return (void *)at;
}

void memory_unmap(void *at, usize size)
{
    CALL(SYS_munmap, at, size);
}

void make_room(struct text *text, usize more)
{
    usize room = text->room ? text->room : 4096;
    while (room - text->size < more + 1) /* one more: `terminated` */
        room *= 2;
    if (room == text->room)
        return;
    char *at = memory_map(room);
    if (text->room) {
        memcpy(at, text->at, text->size);
        memory_unmap(text->at, text->room);
    }
    text->at = at;
    text->room = room;
}

void release(struct text *text)
{
    if (text->room)
        memory_unmap(text->at, text->room);
    *text = (struct text){ 0, 0, 0 };
}

void add(struct text *text, const void *bytes, usize size)
{
    make_room(text, size);
    memcpy(text->at + text->size, bytes, size);
    text->size += size;
}

void add_string(struct text *text, const char *string)
{
    add(text, string, length_of(string));
}

const char *terminated(struct text *text)
{
    make_room(text, 0);
    text->at[text->size] = 0;
    return text->at;
}

static void add_number(struct text *text, i64 number)
{
    char digits[24];
    int at = sizeof digits;
    usize left = number < 0 ? 0 - (usize)number : (usize)number;
    do
        digits[--at] = (char)('0' + left % 10);
    while (left /= 10);
    if (number < 0)
        digits[--at] = '-';
    add(text, digits + at, sizeof digits - (usize)at);
}

void add_arguments(struct text *text, const char *format, va_list arguments)
{
    for (; *format; format++) {
        if (*format != '%') {
            add(text, format, 1);
            continue;
        }
        struct span span;
        switch (*++format) {
        case 's':
            add_string(text, va_arg(arguments, const char *));
            break;
        case 'd':
            add_number(text, va_arg(arguments, i64));
            break;
        case 'v':
            span = va_arg(arguments, struct span);
            add(text, span.at, span.size);
            break;
        case 'j':
            add_json_string(text, va_arg(arguments, struct span));
            break;
        }
    }
}

void add_format(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_arguments(text, format, arguments);
    va_end(arguments);
}

/* ---- files ---- */

i64 open_file(const char *path, int flags)
{
    return CALL(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

/* The beginning of a file, terminated; its size, 0 when it cannot be read. */
i64 read_file(const char *path, char *into, usize size)
{
    i64 file = open_file(path, O_RDONLY), got = 0, chunk;
    if (file >= 0) {
        while ((chunk = CALL(SYS_read, file, into + got, size - 1 - (usize)got)) > 0)
            got += chunk;
        CALL(SYS_close, file);
    }
    into[got] = 0;
    return got;
}
