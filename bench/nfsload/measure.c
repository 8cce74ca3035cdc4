/* The latency histogram, and the processor time of the servers. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "nfsload.h"

/* 64 buckets for each power of two of nanoseconds. */
enum { STEPS = 64, STEP_BITS = 6, BUCKETS = (64 - STEP_BITS + 1) * STEPS };

static uint64_t buckets[BUCKETS], samples, largest;

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int bucket_of(uint64_t ns)
{
    if (ns < STEPS)
        return (int)ns;
    int power = 63 - __builtin_clzll(ns);
    return (power - STEP_BITS + 1) * STEPS + (int)((ns >> (power - STEP_BITS)) & (STEPS - 1));
}

static uint64_t upper_edge(int bucket)
{
    if (bucket < STEPS)
        return (uint64_t)bucket;
    int shift = bucket / STEPS - 1;
    return ((uint64_t)(STEPS + bucket % STEPS + 1) << shift) - 1;
}

void histogram_add(uint64_t ns)
{
    buckets[bucket_of(ns)]++;
    samples++;
    if (ns > largest)
        largest = ns;
}

double histogram_us(double quantile)
{
    uint64_t seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += buckets[i];
        if (seen && (double)seen >= quantile * (double)samples)
            return (double)(upper_edge(i) < largest ? upper_edge(i) : largest) / 1e3;
    }
    return 0;
}

double histogram_max_us(void)
{
    return (double)largest / 1e3;
}

static double cpu_seconds(int pid)
{
    char path[64], text[2048];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        fail(path, strerror(errno));
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    /* proc(5): utime and stime are fields 14 and 15; the second field, the name, may contain blanks and ')'. */
    unsigned long user, system;
    char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %lu", &user, &system) != 2)
        fail(path, "not what proc(5) describes");
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

double servers_cpu_seconds(void)
{
    double sum = 0;
    for (int i = 0; i < options.pid_count; i++)
        sum += cpu_seconds(options.pids[i]);
    return sum;
}

double own_cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}
