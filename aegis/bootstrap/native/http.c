/* Calls to the orchestrator: HTTP/1.0 (RFC 9112 asks nothing more of a client that keeps no connection), repeated until
   answered. No proxy and no redirect is followed: the token goes where it was meant to. */
#include "agent.h"
#include "system.h"

static struct text reply;

struct answer {
    int status;
    i64 retry_after_ms;
    struct span body;
};

void orchestrator_open(struct orchestrator *o, const char *url, const char *token, const char *execution_id, i64 llm_ms)
{
    struct span scheme = { url, 7 };
    const char *at = url + 7, *end;
    if (length_of(url) > 8 && equal((struct span){ url, 8 }, "https://"))
        gave_up("AEGIS_ORCHESTRATOR_URL is '%s': https needs a python3 in the image, or wanted http://HOST:PORT", url);
    if (length_of(url) < 8 || !equal(scheme, "http://"))
        gave_up("AEGIS_ORCHESTRATOR_URL is '%s', wanted http://HOST:PORT", url);
    int bracket = *at == '[';
    for (end = at + bracket; *end && *end != '/' && (bracket ? *end != ']' : *end != ':');)
        end++;
    add(&o->host, at + bracket, (usize)(end - at) - (usize)bracket);
    end += bracket && *end == ']';
    o->port = 80;
    if (*end == ':')
        for (o->port = 0, end++; *end >= '0' && *end <= '9' && o->port < 65536; end++)
            o->port = o->port * 10 + (*end - '0');
    if (!o->host.size || o->port < 1 || o->port > 65535 || (*end && *end != '/'))
        gave_up("AEGIS_ORCHESTRATOR_URL is '%s', wanted http://HOST:PORT", url);
    usize size = length_of(end);
    while (size && end[size - 1] == '/')
        size--;
    add(&o->prefix, end, size);
    add_string(&o->prefix, "/v1/dispatch-gateway");
    add_format(&o->headers, bracket ? "Host: [%v]:%d\r\n" : "Host: %v:%d\r\n", whole(&o->host), (i64)o->port);
    /* Naming the execution lets the orchestrator check the token before it reads a body. */
    add_format(&o->headers, "Authorization: Bearer %s\r\nX-Aegis-Execution: %s\r\n", token, execution_id);
    add_string(&o->headers, "Accept: application/json\r\nConnection: close\r\n");
    o->attempt_ms = llm_ms + ANSWER_SLACK_MS;
    o->call_ms = 2 * llm_ms + OUTAGE_MS;
}

void add_request(struct text *request, struct orchestrator *o, const char *method, const char *path, struct span body)
{
    add_format(request, "%s %v%s HTTP/1.0\r\n%v", method, whole(&o->prefix), path, whole(&o->headers));
    if (body.size)
        add_format(request, "Content-Type: application/json\r\nContent-Length: %d\r\n", (i64)body.size);
    add_string(request, "\r\n");
    add(request, body.at, body.size);
}

/* A socket that is connecting; -1 with the reason. */
int connect_begin(struct orchestrator *o, const char **why)
{
    struct address address;
    if (!resolve(terminated(&o->host), o->port, &address)) {
        *why = "the orchestrator's name has no address here";
        return -1;
    }
    i64 fd = CALL(SYS_socket, address.bytes[0], SOCK_STREAM | O_NONBLOCK | O_CLOEXEC, 0);
    i64 result = fd < 0 ? fd : CALL(SYS_connect, fd, address.bytes, address.size);
    if (result == 0 || result == -EINPROGRESS)
        return (int)fd;
    *why = "the orchestrator cannot be reached";
    if (fd >= 0)
        CALL(SYS_close, fd);
    return -1;
}

/* Sends the request and reads the answer into `reply` until the peer closes; 0 with the reason. */
static int exchange(int fd, struct span request, i64 until, const char **why)
{
    usize sent = 0;
    reply.size = 0;
    for (;;) {
        struct pollfd entry = { fd, (short)(sent < request.size ? POLL_OUT : POLL_IN), 0 };
        wait_for(&entry, 1, until);
        if (now_ms() >= until)
            return *why = "no answer in time", 0;
        if (!entry.revents)
            continue;
        if (sent < request.size) {
            i64 went = CALL(SYS_sendto, fd, request.at + sent, request.size - sent, MSG_NOSIGNAL, 0, 0);
            if (went < 0 && went != -EAGAIN)
                return *why = "the connection was refused or cut", 0;
            sent += went > 0 ? (usize)went : 0;
            continue;
        }
        make_room(&reply, READ_BYTES);
        i64 got = CALL(SYS_recvfrom, fd, reply.at + reply.size, READ_BYTES, 0, 0, 0);
        if (got == 0)
            return 1;
        if (got < 0 && got != -EAGAIN)
            return *why = "the connection was cut", 0;
        reply.size += got > 0 ? (usize)got : 0;
        if (reply.size > REPLY_BYTES_MAX)
            gave_up("the answer is longer than %d bytes", (i64)REPLY_BYTES_MAX);
    }
}

static int header(struct span line, const char *name, struct span *value)
{
    usize size = length_of(name);
    if (line.size <= size || line.at[size] != ':')
        return 0;
    for (usize i = 0; i < size; i++)
        if ((line.at[i] | 32) != name[i])
            return 0;
    *value = (struct span){ line.at + size + 1, line.size - size - 1 };
    while (value->size && *value->at == ' ')
        value->at++, value->size--;
    return 1;
}

/* `reply` as an answer; 0 when it is none, or not whole. */
static int read_reply(struct answer *answer)
{
    const char *at = reply.at, *end = reply.at + reply.size;
    struct span value;
    i64 wanted = -1;
    *answer = (struct answer){ 0, 0, { "", 0 } };
    if (reply.size < 12 || !equal((struct span){ at, 7 }, "HTTP/1."))
        return 0;
    answer->status = (int)(decimal_thousandths(at + 9, 3, 0) / 1000);
    for (;;) {
        const char *line = at;
        while (at < end && *at != '\n')
            at++;
        if (at++ >= end)
            return 0;
        usize size = (usize)(at - line) - 1;
        size -= size && line[size - 1] == '\r';
        if (!size)
            break;
        if (header((struct span){ line, size }, "content-length", &value))
            wanted = decimal_thousandths(value.at, value.size, -1000) / 1000;
        if (header((struct span){ line, size }, "retry-after", &value))
            answer->retry_after_ms = decimal_thousandths(value.at, value.size, 0);
    }
    if (answer->retry_after_ms > BACKOFF_MAX_MS)
        answer->retry_after_ms = BACKOFF_MAX_MS;
    answer->body = (struct span){ at, (usize)(end - at) };
    return wanted < 0 || (i64)answer->body.size >= wanted;
}

static void describe(struct text *why, const struct answer *answer)
{
    struct span code, detail;
    struct text words = { 0, 0, 0 };
    add_format(why, "HTTP %d: ", (i64)answer->status);
    if (json_is_object(answer->body)) {
        json_member(answer->body, "code", &code);
        json_member(answer->body, "detail", &detail);
        if (!json_string(code, &words))
            add_string(&words, "?");
        add_string(&words, ": ");
        json_string(detail, &words);
        add(why, words.at, words.size);
    } else {
        add(why, answer->body.at, answer->body.size < 200 ? answer->body.size : 200);
    }
    release(&words);
}

/* 5xx and "later" answers, unless the problem document itself says that trying again is of no use. */
static int is_retryable(const struct answer *answer)
{
    struct span value;
    if (answer->status < 500 && answer->status != 408 && answer->status != 425 && answer->status != 429)
        return 0;
    return !(json_is_object(answer->body) && json_member(answer->body, "retryable", &value) && equal(value, "false"));
}

struct span orchestrator_call(struct orchestrator *o, const char *method, const char *path, struct span body)
{
    i64 deadline = now_ms() + o->call_ms, backoff = BACKOFF_FIRST_MS;
    struct text request = { 0, 0, 0 }, why = { 0, 0, 0 };
    add_request(&request, o, method, path, body);
    for (;;) {
        struct answer answer;
        const char *reason = "";
        i64 wait = 0;
        int fd = connect_begin(o, &reason), exchanged = fd >= 0 && exchange(fd, whole(&request), now_ms() + o->attempt_ms, &reason);
        if (fd >= 0)
            CALL(SYS_close, fd);
        why.size = 0;
        if (!exchanged) {
            add_string(&why, reason);
        } else if (!read_reply(&answer)) {
            add_string(&why, "half an answer, or none of HTTP's");
        } else if (answer.status == 200 && json_is_object(answer.body)) {
            release(&request);
            release(&why);
            return answer.body;
        } else {
            describe(&why, &answer);
            if (answer.status != 200 && !is_retryable(&answer))
                gave_up("%s %v: %v", method, whole(&o->prefix), whole(&why));
            wait = answer.retry_after_ms;
        }
        i64 pause = backoff / 2 + random_below((u32)backoff / 2);
        if (pause < wait)
            pause = wait;
        if (now_ms() + pause >= deadline)
            gave_up("%s %v: no usable answer within %d s, last: %v", method, whole(&o->prefix), o->call_ms / 1000,
                    whole(&why));
        say("trying again in %d.%d s: %v", pause / 1000, pause % 1000 / 100, whole(&why));
        for (i64 until = now_ms() + pause; now_ms() < until;)
            wait_for(0, 0, until);
        backoff = backoff * 2 < BACKOFF_MAX_MS ? backoff * 2 : BACKOFF_MAX_MS;
    }
}
