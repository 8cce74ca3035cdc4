/* A command's output to the orchestrator while it runs: at most one message under way, each at least half a second after
   the last, and rarer the longer the command runs. For people who follow; the result is what counts, so nothing here is
   repeated, and what does not get through is counted as skipped. */
#include "agent.h"
#include "system.h"

static void forget_front(struct text *text, usize size)
{
    memmove(text->at, text->at + size, text->size - size);
    text->size -= size;
}

void courier_take(struct courier *c, int stream, const char *bytes, usize size)
{
    struct text *fresh = &c->fresh[stream];
    if (c->refused)
        return;
    if (size > STREAM_BYTES) {
        c->skipped += (i64)(size - STREAM_BYTES);
        bytes += size - STREAM_BYTES;
        size = STREAM_BYTES;
    }
    add(fresh, bytes, size);
    if (fresh->size > STREAM_BYTES) {
        c->skipped += (i64)(fresh->size - STREAM_BYTES);
        forget_front(fresh, fresh->size - STREAM_BYTES);
    }
}

static int has_news(const struct courier *c)
{
    return !c->refused && (c->fresh[0].size || c->fresh[1].size);
}

/* When `courier_step` has something to do though no descriptor is ready. */
i64 courier_deadline(const struct courier *c)
{
    if (c->socket >= 0)
        return c->patience_ms;
    return has_news(c) ? c->next_ms : now_ms() + 60000;
}

int courier_poll(const struct courier *c, struct pollfd *entry)
{
    *entry = (struct pollfd){ c->socket, (short)(c->sent < c->request.size ? POLL_OUT : POLL_IN), 0 };
    return c->socket >= 0;
}

static void hang_up(struct courier *c)
{
    i64 now = now_ms(), pause = (now - c->started_ms) / 100;
    if (c->socket >= 0)
        CALL(SYS_close, c->socket);
    c->socket = -1;
    c->next_ms = now + (pause > STREAM_PAUSE_MS ? pause : STREAM_PAUSE_MS);
}

static void begin_message(struct courier *c)
{
    static const char *const names[] = { "stdout", "stderr" };
    struct text body = { 0, 0, 0 };
    const char *why;
    add_format(&body, "{\"type\":\"dispatch_output\",\"execution_id\":%j,\"dispatch_id\":%v,\"sequence\":%d", c->execution_id,
               c->dispatch_id, c->sequence++);
    for (int i = 0; i < 2; i++) {
        usize held = incomplete_end(whole(&c->fresh[i])); /* a character is not cut in two */
        struct span shown = { c->fresh[i].at, c->fresh[i].size - held };
        add_format(&body, ",\"%s\":%j", names[i], shown);
        forget_front(&c->fresh[i], shown.size);
    }
    add_format(&body, ",\"skipped_bytes\":%d}", c->skipped);
    c->skipped = 0;
    c->request.size = c->sent = 0;
    add_request(&c->request, c->orchestrator, "POST", "", whole(&body));
    release(&body);
    c->patience_ms = now_ms() + STREAM_PATIENCE_MS;
    c->socket = connect_begin(c->orchestrator, &why);
    if (c->socket < 0)
        hang_up(c);
}

void courier_step(struct courier *c)
{
    if (c->socket < 0) {
        if (has_news(c) && now_ms() >= c->next_ms)
            begin_message(c);
        return;
    }
    char head[16];
    if (c->sent < c->request.size) {
        i64 went =
            CALL(SYS_sendto, c->socket, c->request.at + c->sent, c->request.size - c->sent, MSG_NOSIGNAL, 0, 0);
        if (went > 0)
            c->sent += (usize)went;
        else if (went != -EAGAIN)
            hang_up(c);
    } else {
        i64 got = CALL(SYS_recvfrom, c->socket, head, sizeof head, 0, 0, 0);
        if (got >= 12) /* "HTTP/1.1 200": whoever says no is not asked again for this command */
            c->refused = head[9] == '4';
        if (got != -EAGAIN)
            hang_up(c);
    }
    if (c->socket >= 0 && now_ms() >= c->patience_ms)
        hang_up(c);
}

void courier_end(struct courier *c)
{
    hang_up(c);
    release(&c->request);
    release(&c->fresh[0]);
    release(&c->fresh[1]);
}
