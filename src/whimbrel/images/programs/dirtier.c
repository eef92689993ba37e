/* dirtier RATE WORKING_SET PATTERN [SEED]: writes into memory at a known rate (bytes/s; a page counts as its 4,096 bytes) within
   a working set (bytes). PATTERN: uniform (any page, at random), sequential (round and round), hot-cold (nine writes of ten
   go to a tenth of the pages). Prints "ready" once every page is there, and "written N" (pages) when told to end. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { PAGE = 4096 };
static const long TICK_NS = 5000000;
static volatile sig_atomic_t ended;

static void end(int number) { (void)number; ended = 1; }

static uint64_t state;
static uint64_t chance(void) { /* xorshift64*, Vigna 2016 */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717ULL;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int count, char **words) {
    if (count < 4) return 2;
    double rate = atof(words[1]) / PAGE;
    uint64_t pages = (uint64_t)atof(words[2]) / PAGE, hot = pages / 10 ? pages / 10 : 1, written = 0, next = 0;
    int sequential = strcmp(words[3], "sequential") == 0, hot_cold = strcmp(words[3], "hot-cold") == 0;
    if (pages == 0 || (!sequential && !hot_cold && strcmp(words[3], "uniform") != 0)) return 2;
    state = (count > 4 ? strtoull(words[4], NULL, 10) : 1) * 0x9E3779B97F4A7C15ULL + 1;
    unsigned char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 1;
    madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
    /* Nothing in it may look like a page of zeros, which would be sent as a word. */
    for (uint64_t page = 0; page < pages; page++)
        for (int word = 0; word < PAGE; word += 8) *(uint64_t *)(memory + page * PAGE + word) = chance();
    struct sigaction on_end = {.sa_handler = end};
    sigaction(SIGTERM, &on_end, NULL);
    sigaction(SIGINT, &on_end, NULL);
    printf("ready\n");
    fflush(stdout);
    double began = seconds();
    struct timespec tick = {.tv_nsec = TICK_NS};
    while (!ended) {
        /* What is due by now; after a standstill nothing is made up for: the guest did not run. */
        uint64_t due = (uint64_t)((seconds() - began) * rate);
        if (due > written + (uint64_t)(rate * 0.1) + 1) {
            began += (double)(due - written) / rate;
            due = written;
        }
        for (; written < due; written++) {
            uint64_t page;
            if (sequential)
                page = next++ % pages;
            else if (hot_cold && chance() % 10 != 0)
                page = chance() % hot;
            else
                page = chance() % pages;
            *(volatile uint64_t *)(memory + page * PAGE) += 1;
        }
        nanosleep(&tick, NULL);
    }
    printf("written %llu\n", (unsigned long long)written);
    return 0;
}
