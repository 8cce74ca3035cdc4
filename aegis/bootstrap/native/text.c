/* JSON as far as the protocol needs it (RFC 8259): members by name, strings to bytes and back, numbers as thousandths.

   Values are found by their brackets and quotes and not otherwise checked: what the orchestrator sends is JSON, and a
   body that is not whole is known by its Content-Length. Depth costs nothing, so no document is too deep. */
#include "agent.h"

static const char *blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

/* Behind the value that begins at `at`; 0 when it has no end. */
static const char *skip(const char *at, const char *end)
{
    int depth = 0, quoted = 0;
    for (const char *start = at; at < end; at++) {
        if (quoted) {
            if (*at == '\\')
                at++;
            else if (*at == '"')
                quoted = 0;
            if (!quoted && !depth)
                return at + 1;
        } else if (*at == '"') {
            quoted = 1;
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']') {
            if (!depth)
                return at > start ? at : 0; /* the end of what holds a number or a word */
            if (!--depth)
                return at + 1;
        } else if (!depth && (*at == ',' || blanks(at, at + 1) != at)) {
            return at > start ? at : 0;
        }
    }
    return 0;
}

int json_is_object(struct span document)
{
    const char *end = document.at + document.size, *at = blanks(document.at, end);
    const char *behind = at < end && *at == '{' ? skip(at, end) : 0;
    return behind && blanks(behind, end) == end;
}

/* The next member of an object or element of an array: `*rest` begins as the whole value. 0 at the end. */
int json_next(struct span *rest, struct span *key, struct span *value)
{
    const char *end = rest->at + rest->size, *at = blanks(rest->at, end);
    int is_object = at < end && *at == '{';
    if (is_object || (at < end && *at == '['))
        at = blanks(at + 1, end); /* the first step; later ones begin at a comma */
    else if (at < end && *at == ',')
        at = blanks(at + 1, end);
    if (at >= end || *at == '}' || *at == ']')
        return 0;
    const char *behind = skip(at, end);
    if (!behind)
        return 0;
    *key = (struct span){ at, 0 };
    const char *colon = blanks(behind, end);
    if (*at == '"' && colon < end && *colon == ':') {
        *key = (struct span){ at + 1, (usize)(behind - at) - 2 };
        at = blanks(colon + 1, end);
        behind = skip(at, end);
        if (!behind)
            return 0;
    }
    *value = (struct span){ at, (usize)(behind - at) };
    behind = blanks(behind, end);
    *rest = (struct span){ behind, behind < end && *behind == ',' ? (usize)(end - behind) : 0 };
    return 1;
}

int json_member(struct span object, const char *name, struct span *value)
{
    struct span key;
    while (json_next(&object, &key, value))
        if (equal(key, name))
            return 1;
    *value = (struct span){ "", 0 };
    return 0;
}

static int hexadecimal(const char *at, u32 *value)
{
    *value = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        u32 digit = c >= '0' && c <= '9' ? (u32)(c - '0') : (u32)((c | 32) - 'a') + 10;
        if (digit > 15)
            return 0;
        *value = *value << 4 | digit;
    }
    return 1;
}

static void add_utf8(struct text *into, u32 code)
{
    u8 bytes[4];
    int size;
    if (code < 0x80) {
        bytes[0] = (u8)code;
        size = 1;
    } else if (code < 0x800) {
        bytes[0] = (u8)(0xc0 | code >> 6);
        size = 2;
    } else if (code < 0x10000) {
        bytes[0] = (u8)(0xe0 | code >> 12);
        size = 3;
    } else {
        bytes[0] = (u8)(0xf0 | code >> 18);
        size = 4;
    }
    for (int i = 1; i < size; i++)
        bytes[i] = (u8)(0x80 | (code >> 6 * (size - 1 - i) & 0x3f));
    add(into, bytes, (usize)size);
}

/* The bytes a JSON string means, added; 0 when the value is none. A lone surrogate of DC80..DCFF is the byte it stands
   for in Python (PEP 383): so a file's name of any bytes comes through. */
int json_string(struct span value, struct text *into)
{
    if (value.size < 2 || value.at[0] != '"')
        return 0;
    const char *at = value.at + 1, *end = value.at + value.size - 1;
    while (at < end) {
        if (*at != '\\') {
            add(into, at++, 1);
            continue;
        }
        u32 code, low;
        char escaped = at[1];
        at += 2;
        if (escaped == 'u') {
            if (end - at < 4 || !hexadecimal(at, &code))
                return 0;
            at += 4;
            if (code >= 0xd800 && code < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u' &&
                hexadecimal(at + 2, &low) && low >= 0xdc00 && low < 0xe000) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                at += 6;
            }
            if (code >= 0xdc80 && code <= 0xdcff)
                add(into, &(u8){ (u8)code }, 1);
            else
                add_utf8(into, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);
        } else {
            static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
            for (int i = 0; from[i]; i++)
                if (escaped == from[i])
                    escaped = to[i];
            add(into, &escaped, 1);
        }
    }
    return 1;
}

/* A number in thousandths: `1.5`, `60`, `1e-3`. `otherwise` where there is none; what is too large is cut. */
i64 decimal_thousandths(const char *at, usize size, i64 otherwise)
{
    const char *end = at + size;
    const i64 most = 1000000000000000;
    i64 value = 0, digits = 0, shift = 3, behind_point = 0;
    int negative = at < end && *at == '-';
    for (at += negative; at < end && ((*at >= '0' && *at <= '9') || (*at == '.' && !behind_point)); at++) {
        if (*at == '.') {
            behind_point = 1;
            continue;
        }
        digits++;
        if (value < most && (!behind_point || shift > -12)) {
            value = value * 10 + (*at - '0');
            shift -= behind_point;
        } else if (!behind_point) {
            shift++;
        }
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        int down = ++at < end && *at == '-';
        i64 exponent = 0;
        for (at += down || (at < end && *at == '+'); at < end && *at >= '0' && *at <= '9'; at++)
            exponent = exponent < 1000 ? exponent * 10 + (*at - '0') : exponent;
        shift += down ? -exponent : exponent;
    }
    if (!digits || at != end)
        return otherwise;
    for (; shift > 0 && value && value < most; shift--)
        value *= 10;
    for (; shift < 0 && value; shift++)
        value /= 10;
    return negative ? -value : value;
}

i64 json_thousandths(struct span number, i64 otherwise)
{
    return decimal_thousandths(number.at, number.size, otherwise);
}

/* How many bytes from `at` are one character; 0: `*bad` bytes are none (the longest part that could have begun one,
   Unicode 15 section 3.9, as Python's "replace" does). `*bad` reaching `end` means: not all of it is here yet. */
static int character(const u8 *at, const u8 *end, int *bad)
{
    static const struct { u8 first, last, low, high, size; } rows[] = {
        { 0x00, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };
    for (usize i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (*at < rows[i].first || *at > rows[i].last)
            continue;
        for (int n = 1; n < rows[i].size; n++) {
            *bad = n;
            u8 low = n == 1 ? rows[i].low : 0x80, high = n == 1 ? rows[i].high : 0xbf;
            if (at + n >= end || at[n] < low || at[n] > high)
                return 0;
        }
        return rows[i].size;
    }
    *bad = 1;
    return 0;
}

/* Quoted. What is not UTF-8, and NUL, becomes U+FFFD: PostgreSQL stores neither. */
void add_json_string(struct text *text, struct span bytes)
{
    static const char hex[] = "0123456789abcdef";
    const u8 *at = (const u8 *)bytes.at, *end = at + bytes.size;
    add(text, "\"", 1);
    while (at < end) {
        int bad = 1, size = *at ? character(at, end, &bad) : 0;
        if (!size)
            add(text, "\xef\xbf\xbd", 3);
        else if (*at == '"' || *at == '\\')
            add(text, (char[]){ '\\', (char)*at }, 2);
        else if (*at < 0x20)
            add(text, (char[]){ '\\', 'u', '0', '0', hex[*at >> 4], hex[*at & 15] }, 6);
        else
            add(text, at, (usize)size);
        at += size ? size : bad;
    }
    add(text, "\"", 1);
}

/* Bytes at the end that may be the beginning of a character whose rest is still to come. */
usize incomplete_end(struct span bytes)
{
    const u8 *end = (const u8 *)bytes.at + bytes.size;
    for (usize back = 1; back <= 3 && back <= bytes.size; back++) {
        int bad = 0;
        if (end[-(i64)back] >= 0xc0)
            return !character(end - back, end, &bad) && bad == (int)back ? back : 0;
        if (end[-(i64)back] < 0x80)
            return 0;
    }
    return 0;
}
