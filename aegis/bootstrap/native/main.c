/* The loop: fetch the task, ask for the next step, do it, report, until the final answer. Where the image has a python3
   of 3.8 or newer, bootstrap.py does it instead (exec: nothing of this program is left): its path is the one argument, and
   without it no Python is looked for. Exit code: 0 after a final response, 1 when it gave up or was told to stop. */
#include "agent.h"
#include "system.h"

/* One interpreter, started once: an older one gives the container back to us. */
static const char PYTHON[] =
    "import os, sys\n"
    "program, script = sys.argv[1:]\n"
    "if sys.version_info < (3, 8):\n"
    "    os.execv(program, [program])\n"
    "sys.argv[:] = [script]\n"
    "exec(compile(open(script, encoding='utf-8').read(), script, 'exec'))\n";

static const char *needed(const char *name)
{
    const char *value = environment_get(name);
    if (!value)
        gave_up("the environment variable %s is not set", name);
    return value;
}

/* Returns when there is no python3 in PATH that the kernel would run. */
static void try_python(const char *self, const char *script)
{
    const char *path = environment_get("PATH");
    while (path && *path) {
        struct text candidate = { 0, 0, 0 };
        const char *end = path;
        while (*end && *end != ':')
            end++;
        add_format(&candidate, "%v/python3", (struct span){ path, (usize)(end - path) });
        const char *argv[] = { terminated(&candidate), "-c", PYTHON, self, script, 0 };
        if (!CALL(SYS_faccessat, AT_FDCWD, argv[0], X_OK, 0))
            CALL(SYS_execve, argv[0], argv, environment_all());
        release(&candidate);
        path = *end ? end + 1 : end;
    }
}

static void add_member(struct text *message, struct span task, const char *name, const char *otherwise)
{
    struct span value;
    add_format(message, ",\"%s\":", name);
    if (json_member(task, name, &value) && !equal(value, "null") && !equal(value, "\"\""))
        add(message, value.at, value.size);
    else
        add_format(message, equal(span_of(name), "messages") ? "%s" : "%j",
                   equal(span_of(name), "messages") ? (struct span){ otherwise, 2 } : span_of(otherwise));
}

static const char *or_else(const char *value, const char *otherwise)
{
    return value ? value : otherwise;
}

static void run_iteration(struct orchestrator *o, const char *execution_id, i64 iteration)
{
    struct text path = { 0, 0, 0 }, message = { 0, 0, 0 };
    struct span kind, value;
    add_format(&path, "/task?execution_id=%s&iteration=%d", execution_id, iteration);
    struct span answer = orchestrator_call(o, "GET", terminated(&path), (struct span){ "", 0 });
    say("iteration %d of execution %s: asking the model", iteration, execution_id);
    add_format(&message, "{\"type\":\"generate\",\"execution_id\":%j,\"iteration_number\":%d", span_of(execution_id), iteration);
    add_member(&message, answer, "agent_id", or_else(environment_get("AEGIS_AGENT_ID"), ""));
    add_member(&message, answer, "prompt", "");
    add_member(&message, answer, "model_alias", or_else(environment_get("AEGIS_MODEL_ALIAS"), "default"));
    add_member(&message, answer, "messages", "[]");
    add_string(&message, "}");
    for (;;) {
        answer = orchestrator_call(o, "POST", "", whole(&message));
        json_member(answer, "type", &kind);
        if (!equal(kind, "\"dispatch\""))
            break;
        json_member(answer, "command", &value);
        say("running %v", value);
        json_member(answer, "dispatch_id", &value);
        message.size = 0;
        add_format(&message, "{\"type\":\"dispatch_result\",\"execution_id\":%j,\"dispatch_id\":%v,", span_of(execution_id),
                   value.size ? value : span_of("null"));
        run_dispatch(answer, o, span_of(execution_id), &message);
        add_string(&message, "}");
        struct span code, duration;
        json_member(whole(&message), "exit_code", &code);
        json_member(whole(&message), "duration_ms", &duration);
        say("exit code %v after %v ms", code, duration);
    }
    path.size = 0;
    if (!json_string(kind, &path))
        add_string(&path, "None");
    if (!equal(whole(&path), "final"))
        gave_up("the orchestrator answered type '%v', wanted dispatch or final", whole(&path));
    json_member(answer, "tool_calls_executed", &value);
    say("final response after %v tool calls", value.size ? value : span_of("0"));
}

int main(int count, char **arguments)
{
    static struct orchestrator orchestrator;
    if (count > 1)
        try_python(arguments[0], arguments[1]);
    wait_prepare();
    const char *timeout = or_else(environment_get("AEGIS_LLM_TIMEOUT_SECONDS"), "300");
    const char *number = or_else(environment_get("AEGIS_ITERATION"), "1");
    i64 timeout_ms = decimal_thousandths(timeout, length_of(timeout), -1);
    i64 iteration = decimal_thousandths(number, length_of(number), -1000);
    if (timeout_ms < 0)
        gave_up("AEGIS_LLM_TIMEOUT_SECONDS is '%s', wanted a number", timeout);
    if (iteration < 0 || iteration % 1000)
        gave_up("AEGIS_ITERATION is '%s', wanted a number", number);
    const char *execution_id = needed("AEGIS_EXECUTION_ID"), *url = needed("AEGIS_ORCHESTRATOR_URL");
    orchestrator_open(&orchestrator, url, needed("AEGIS_DISPATCH_TOKEN"), execution_id, timeout_ms);
    run_iteration(&orchestrator, execution_id, iteration / 1000);
    return 0;
}
