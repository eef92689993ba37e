/* criu-aid: answers two questions of CRIU 4.1 that a new kernel, or one that gives root less, refuses, and spares it a wait. For
   LD_PRELOAD; a container never sees it. Where the kernel answers by itself, its answer is left alone.

   Sockets: since Linux 6.16 only sockets that can pass credentials may be asked for SO_PASSCRED and SO_PASSSEC. CRIU before 4.2 asks
   every socket, and gives up (criu issue 2705). Of the others the answer can only be: off.

   Pipes: without CAP_SYS_RESOURCE none grows beyond pipe-max-size. For post-copy CRIU asks for one as large as a kernel could ever
   give (page-pipe.c, pipe_read_dest_init). It passes on what lies in other pipes of its own, which are under the same limit: so
   one as large as they may be will do. One that has this size already is refused as before, as CRIU then takes another.

   Corks: CRIU corks its connection to the page server and pushes what it then waits for an answer to, but not its last word
   (page-xfer.c, disconnect_from_page_server). That lies in the socket until the kernel's timer sends it, 200 ms later or more, and
   the container stands still for as long. So whoever waits for an answer on a corked connection pushes first (tcp(7),
   TCP_NODELAY). A connection under repair is the container's, and is left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const char LIMIT[] = "/proc/sys/fs/pipe-max-size";

int getsockopt(int socket, int level, int name, void *value, socklen_t *length) {
    static int (*next)(int, int, int, void *, socklen_t *);
    if (!next) next = (int (*)(int, int, int, void *, socklen_t *))dlsym(RTLD_NEXT, "getsockopt");
    int result = next(socket, level, name, value, length);
    if (result == 0 || errno != EOPNOTSUPP || level != SOL_SOCKET || (name != SO_PASSCRED && name != SO_PASSSEC)) return result;
    memset(value, 0, *length);
    return 0;
}

static int is_on(int socket, int name) {
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(socket, IPPROTO_TCP, name, &value, &length) == 0 && value;
}

ssize_t recv(int socket, void *into, size_t size, int flags) {
    static ssize_t (*next)(int, void *, size_t, int);
    if (!next) next = (ssize_t (*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
    if (is_on(socket, TCP_CORK) && !is_on(socket, TCP_REPAIR)) {
        int on = 1;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    return next(socket, into, size, flags);
}

static long pipe_limit(void) {
    long limit = 0;
    FILE *file = fopen(LIMIT, "re");
    if (file) {
        if (fscanf(file, "%ld", &limit) != 1) limit = 0;
        fclose(file);
    }
    return limit;
}

int fcntl64(int fd, int command, ...) {
    static int (*next)(int, int, ...);
    if (!next) next = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64");
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    int result = next(fd, command, argument);
    if (result >= 0 || errno != EPERM || command != F_SETPIPE_SZ) return result;
    long limit = pipe_limit();
    if (next(fd, F_GETPIPE_SZ, 0) < limit) return next(fd, F_SETPIPE_SZ, limit);
    errno = EPERM;
    return -1;
}
