/* witness PORT PAGES FILE: state that a move must not lose, and says itself whether it did.

   Memory: PAGES pages, each filled from its number and its generation. One after the other they are filled with the next
   generation, for ever; so at any moment those before the cursor have the newest generation and the others the one before.
   Counter: one more every 10 ms, kept twice in memory; it never goes back.
   File: the counter, written with fsync(2) every 100 ms, each time into the next of 4096 records. Asked to verify, it reads them
   back from the disk, past the page cache, and F is the newest counter when every one of them is there and whole, else 0.
   Connection: every client of PORT gets "N counter" each 10 ms, N counting from 1 over this connection, and may send
   "verify\n", which is answered by "verified pages=P wrong=W generation=G counter=C file=F started=S". */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / 8, CLIENTS = 16, PAGES_A_TICK = 8, RECORDS = 4096, BEING_WRITTEN = 64 };

struct record {
    uint64_t number, counter, seal, nothing;
};

static uint64_t *memory, pages, cursor, generation = 1;
static volatile uint64_t counter, same_counter, written; /* records that fsync(2) has answered for */
static struct record records[RECORDS];
static int file = -1;

static uint64_t mix(uint64_t value) { /* splitmix64, Steele, Lea and Flood 2014 */
    value += 0x9E3779B97F4A7C15ULL;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
    return value ^ (value >> 31);
}

static void fill(uint64_t page, uint64_t of) {
    uint64_t seed = mix(page * 1000003 + of);
    for (int word = 0; word < WORDS; word++) memory[page * WORDS + word] = seed + (uint64_t)word * of;
}

static int is_whole(uint64_t page, uint64_t of) {
    uint64_t seed = mix(page * 1000003 + of);
    for (int word = 0; word < WORDS; word++)
        if (memory[page * WORDS + word] != seed + (uint64_t)word * of) return 0;
    return 1;
}

static uint64_t count_wrong(void) {
    uint64_t wrong = 0;
    for (uint64_t page = 0; page < pages; page++) wrong += !is_whole(page, page < cursor ? generation + 1 : generation);
    return wrong;
}

static uint64_t seal_of(const struct record *record) { return mix(mix(record->number) ^ record->counter); }

static int is_there(uint64_t number) {
    const struct record *record = &records[number % RECORDS];
    return record->number == number && record->seal == seal_of(record);
}

static ssize_t read_file(void) {
    memset(records, 0, sizeof records);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    return pread(file, records, sizeof records, 0);
}

static uint64_t newest_on_disk(void) { /* 0 when a record that was written is not there; the oldest may be written anew just now */
    uint64_t until = written, newest = 0, left = until < RECORDS - BEING_WRITTEN ? until : RECORDS - BEING_WRITTEN;
    if (read_file() < 0) return 0;
    for (uint64_t number = until - left; number < until; number++) {
        const struct record *record = &records[number % RECORDS];
        if (!is_there(number) || record->counter < newest) return 0;
        newest = record->counter;
    }
    return newest;
}

static uint64_t go_on_from_file(void) { /* the counter that was written last */
    uint64_t newest = 0;
    if (read_file() < 0) return 0;
    for (int place = 0; place < RECORDS; place++) {
        const struct record *record = &records[place];
        if (record->number % RECORDS != (uint64_t)place || !is_there(record->number) || record->number < written) continue;
        written = record->number + 1;
        newest = record->counter;
    }
    return newest;
}

static void write_record(void) {
    struct record record = {.number = written, .counter = counter};
    record.seal = seal_of(&record);
    off_t place = (off_t)(record.number % RECORDS * sizeof record);
    if (pwrite(file, &record, sizeof record, place) == sizeof record && fsync(file) == 0) written = record.number + 1;
}

static void *keep_file(void *nothing) {
    struct timespec rest = {.tv_nsec = 100000000};
    for (;; nanosleep(&rest, NULL)) write_record();
    return nothing;
}

struct client {
    int fd;
    uint64_t sent;
};
static struct client clients[CLIENTS];

static void leave(struct client *client) {
    close(client->fd);
    client->fd = -1;
}

static void tell(struct client *client, const char *text, size_t length) {
    /* A client that does not read is dropped rather than waited for; a full buffer during a blackout is not that. */
    if (send(client->fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length && errno != EAGAIN) leave(client);
}

static void answer(struct client *client, uint64_t started) {
    char text[64], said[200];
    ssize_t length = recv(client->fd, text, sizeof text - 1, MSG_DONTWAIT);
    if (length == 0 || (length < 0 && errno != EAGAIN)) {
        leave(client);
        return;
    }
    if (length <= 0) return;
    text[length] = 0;
    if (strstr(text, "verify") == NULL) return;
    int size = snprintf(said, sizeof said, "verified pages=%llu wrong=%llu generation=%llu counter=%llu file=%llu started=%llu\n",
                        (unsigned long long)pages, (unsigned long long)count_wrong(), (unsigned long long)generation,
                        (unsigned long long)counter, (unsigned long long)newest_on_disk(), (unsigned long long)started);
    tell(client, said, (size_t)size);
}

static void tick(void) {
    counter++;
    if (++same_counter != counter) abort();
    for (int done = 0; done < PAGES_A_TICK; done++) {
        fill(cursor, generation + 1);
        if (++cursor == pages) {
            cursor = 0;
            generation++;
        }
    }
}

int main(int count, char **words) {
    if (count != 4) return 2;
    pages = strtoull(words[2], NULL, 10);
    file = open(words[3], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == 0 || memory == MAP_FAILED || file < 0) return 1;
    for (uint64_t page = 0; page < pages; page++) fill(page, generation);
    /* A witness that starts again goes on from what was on disk, so its counter shows what was lost. */
    uint64_t started = go_on_from_file();
    counter = same_counter = started + 1;
    write_record(); /* before anybody can ask, so that F is 0 only when something is lost */
    signal(SIGPIPE, SIG_IGN);
    for (int number = 0; number < CLIENTS; number++) clients[number].fd = -1;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(words[1]))};
    if (bind(listening, (struct sockaddr *)&at, sizeof at) != 0 || listen(listening, CLIENTS) != 0) return 1;
    pthread_t keeper;
    pthread_create(&keeper, NULL, keep_file, NULL);
    struct timespec rest = {.tv_nsec = 10000000};
    for (;; nanosleep(&rest, NULL)) {
        tick();
        for (int number = 0; number < CLIENTS; number++) {
            struct client *client = &clients[number];
            if (client->fd < 0) {
                client->fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                client->sent = 0;
                continue;
            }
            answer(client, started);
            if (client->fd >= 0) {
                char text[64];
                int length = snprintf(text, sizeof text, "%llu %llu\n", (unsigned long long)++client->sent, (unsigned long long)counter);
                tell(client, text, (size_t)length);
            }
        }
    }
}
