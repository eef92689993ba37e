/* reach NAME ADDRESS PORT EVERY_S: asks a neighbour over HTTP again and again, in this network namespace, and writes a line
   "seconds NAME ok|failed" each time. No answer within 2 s, connecting included, is a failure. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const int PATIENCE_MS = 2000;

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int wait_for(int fd, short what, long until_ms) {
    struct pollfd waiting = {.fd = fd, .events = what};
    long left = until_ms - now_ms();
    return left > 0 && poll(&waiting, 1, (int)left) == 1;
}

static int ask(const char *address, int port) {
    static const char question[] = "GET / HTTP/1.0\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    if (inet_pton(AF_INET, address, &to.sin_addr) != 1) return 0;
    long until = now_ms() + PATIENCE_MS;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), good = 0, failed = 0;
    socklen_t length = sizeof failed;
    char answer[13] = "";
    connect(fd, (struct sockaddr *)&to, sizeof to);
    if (wait_for(fd, POLLOUT, until) && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &length) == 0 && failed == 0 &&
        write(fd, question, sizeof question - 1) == sizeof question - 1 && wait_for(fd, POLLIN, until) &&
        read(fd, answer, 12) == 12)
        good = strncmp(answer + 8, " 200", 4) == 0;
    close(fd);
    return good;
}

int main(int count, char **words) {
    if (count != 5) return 2;
    double every_s = atof(words[4]);
    struct timespec rest = {.tv_sec = (time_t)every_s, .tv_nsec = (long)((every_s - (double)(time_t)every_s) * 1e9)};
    for (;;) {
        int good = ask(words[2], atoi(words[3]));
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        printf("%ld.%06ld %s %s\n", (long)now.tv_sec, now.tv_nsec / 1000, words[1], good ? "ok" : "failed");
        fflush(stdout);
        nanosleep(&rest, NULL);
    }
}
