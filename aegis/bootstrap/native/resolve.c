/* A host's address: written as one, in /etc/hosts, or by asking the name servers of /etc/resolv.conf (RFC 1035). */
#include "agent.h"
#include "system.h"

#define FILE_BYTES 65536
#define DNS_WAIT_MS 3000
#define DNS_ROUNDS 2

static void put_address(struct address *address, int family, const u8 *bytes, int port)
{
    memset(address->bytes, 0, sizeof address->bytes);
    address->bytes[0] = (u8)family; /* both machines are little-endian */
    address->bytes[2] = (u8)(port >> 8);
    address->bytes[3] = (u8)port;
    memcpy(address->bytes + (family == AF_INET ? 4 : 8), bytes, family == AF_INET ? 4 : 16);
    address->size = family == AF_INET ? 16 : 28;
}

static int read_ipv4(struct span text, u8 *bytes)
{
    usize at = 0;
    for (int i = 0; i < 4; i++) {
        u32 number = 0;
        usize first = at;
        while (at < text.size && text.at[at] >= '0' && text.at[at] <= '9' && at - first < 3)
            number = number * 10 + (u32)(text.at[at++] - '0');
        if (at == first || number > 255 || (i < 3 && (at >= text.size || text.at[at++] != '.')))
            return 0;
        bytes[i] = (u8)number;
    }
    return at == text.size;
}

static int read_ipv6(struct span text, u8 *bytes)
{
    u16 parts[8];
    int count = 0, gap = -1;
    usize at = 0;
    if (text.size >= 2 && text.at[0] == ':' && text.at[1] == ':') {
        gap = 0;
        at = 2;
    }
    while (at < text.size) {
        u32 number = 0;
        usize first = at;
        for (; at < text.size && text.at[at] != ':'; at++) {
            char c = text.at[at];
            u32 digit = c >= '0' && c <= '9' ? (u32)(c - '0') : (u32)((c | 32) - 'a') + 10;
            if (digit > 15 || at - first > 3)
                return 0;
            number = number << 4 | digit;
        }
        if (at == first || count == 8)
            return 0;
        parts[count++] = (u16)number;
        if (at == text.size)
            break;
        if (++at < text.size && text.at[at] == ':') {
            if (gap >= 0)
                return 0;
            gap = count;
            at++;
        } else if (at == text.size) {
            return 0;
        }
    }
    if (gap < 0 ? count != 8 : count == 8)
        return 0;
    for (int i = 0; i < 8; i++) {
        int from = gap < 0 || i < gap ? i : i - (8 - count);
        u16 part = gap >= 0 && i >= gap && from < gap ? 0 : parts[from];
        bytes[2 * i] = (u8)(part >> 8);
        bytes[2 * i + 1] = (u8)part;
    }
    return 1;
}

static int read_address(struct span text, int port, struct address *address)
{
    u8 bytes[16];
    if (read_ipv4(text, bytes))
        return put_address(address, AF_INET, bytes, port), 1;
    if (read_ipv6(text, bytes))
        return put_address(address, AF_INET6, bytes, port), 1;
    return 0;
}

/* The next word of a line; 0 at its end or at a comment. */
static int next_word(const char **at, struct span *word)
{
    while (**at == ' ' || **at == '\t' || **at == '\r')
        ++*at;
    const char *start = *at;
    while (**at && **at != '\n' && **at != '#' && **at != ' ' && **at != '\t' && **at != '\r')
        ++*at;
    *word = (struct span){ start, (usize)(*at - start) };
    return word->size > 0;
}

static void next_line(const char **at)
{
    while (**at && **at != '\n')
        ++*at;
    if (**at)
        ++*at;
}

static int in_hosts(const char *host, int port, struct address *address)
{
    static char file[FILE_BYTES];
    struct span first, name;
    read_file("/etc/hosts", file, sizeof file);
    for (const char *at = file; *at; next_line(&at)) {
        if (!next_word(&at, &first))
            continue;
        while (next_word(&at, &name))
            if (equal(name, host) && read_address(first, port, address))
                return 1;
    }
    return 0;
}

/* A question for A records with recursion; its size, 0 when the name cannot be asked for. */
static usize question(const char *host, u16 id, u8 *packet)
{
    usize size = 12, label = size++;
    memset(packet, 0, 12);
    packet[0] = (u8)(id >> 8);
    packet[1] = (u8)id;
    packet[2] = 1; /* recursion desired */
    packet[5] = 1; /* one question */
    for (;; host++) {
        if (*host && *host != '.') {
            if (size > 250)
                return 0;
            packet[size++] = (u8)*host;
            continue;
        }
        usize length = size - label - 1;
        if (length > 63 || (!length && *host))
            return 0;
        packet[label] = (u8)length;
        if (length)
            label = size++;
        if (!*host)
            break;
    }
    packet[label] = 0;
    memcpy(packet + size, "\0\1\0\1", 4); /* A, IN */
    return size + 4;
}

static usize behind_name(const u8 *packet, usize size, usize at)
{
    while (at < size && packet[at]) {
        if (packet[at] >= 0xc0)
            return at + 2;
        at += 1u + packet[at];
    }
    return at + 1;
}

static int read_answer(const u8 *packet, usize size, u16 id, u8 *bytes)
{
    if (size < 12 || packet[0] != (u8)(id >> 8) || packet[1] != (u8)id || !(packet[2] & 0x80) || packet[3] & 15)
        return 0;
    usize at = behind_name(packet, size, 12) + 4;
    for (int left = packet[6] << 8 | packet[7]; left > 0; left--) {
        at = behind_name(packet, size, at);
        if (at + 10 > size)
            return 0;
        usize length = (usize)packet[at + 8] << 8 | packet[at + 9];
        int is_address = packet[at] == 0 && packet[at + 1] == 1 && length == 4;
        at += 10;
        if (is_address && at + 4 <= size) {
            memcpy(bytes, packet + at, 4);
            return 1;
        }
        at += length;
    }
    return 0;
}

static int ask(struct span server, const char *host, int port, struct address *address)
{
    u8 packet[512], bytes[4];
    struct address where;
    u16 id = (u16)random_below(65536);
    usize size = question(host, id, packet);
    if (!size || !read_address(server, 53, &where))
        return 0;
    i64 fd = CALL(SYS_socket, where.bytes[0], SOCK_DGRAM | O_NONBLOCK | O_CLOEXEC, 0), got = -1;
    if (fd < 0)
        return 0;
    /* connected: only this server's answers are received */
    if (!CALL(SYS_connect, fd, where.bytes, where.size) &&
        CALL(SYS_sendto, fd, packet, size, MSG_NOSIGNAL, 0, 0) == (i64)size) {
        i64 until = now_ms() + DNS_WAIT_MS;
        while ((got = CALL(SYS_recvfrom, fd, packet, sizeof packet, 0, 0, 0)) == -EAGAIN && now_ms() < until)
            wait_for(&(struct pollfd){ (int)fd, POLL_IN, 0 }, 1, until);
    }
    CALL(SYS_close, fd);
    if (got <= 0 || !read_answer(packet, (usize)got, id, bytes))
        return 0;
    put_address(address, AF_INET, bytes, port);
    return 1;
}

int resolve(const char *host, int port, struct address *address)
{
    static char file[FILE_BYTES];
    struct span word, server;
    if (read_address(span_of(host), port, address) || in_hosts(host, port, address))
        return 1;
    read_file("/etc/resolv.conf", file, sizeof file);
    for (int round = 0; round < DNS_ROUNDS; round++)
        for (const char *at = file; *at; next_line(&at))
            if (next_word(&at, &word) && equal(word, "nameserver") && next_word(&at, &server) &&
                ask(server, host, port, address))
                return 1;
    return 0;
}
