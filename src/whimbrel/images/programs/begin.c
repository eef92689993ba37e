/* begin [-d FOLDER] [-u USER[:GROUP]] [-e NAME=VALUE]... [-b 'PROGRAM ARGUMENT...'] -- COMMAND ARGUMENT...

   Becomes COMMAND, as an OCI image says it: in FOLDER, as USER (by name or number; the groups are the user's own where none is
   named), and with these variables alone. PROGRAM starts beside it, as root. It is built without libraries and needs no shell, so
   that any image can hold it. */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_GROUPS = 64, MOST_WORDS = 32 };

static _Noreturn void fail(const char *what, const char *which) {
    fprintf(stderr, "begin: %s %s: %s\n", what, which, errno ? strerror(errno) : "there is none");
    exit(127);
}

static int is_number(const char *text) { return *text && strspn(text, "0123456789") == strlen(text); }

static void find_group(const char *name, gid_t *group) {
    FILE *file = fopen("/etc/group", "re");
    struct group *found;
    while (file && (found = fgetgrent(file)))
        if (!strcmp(found->gr_name, name)) {
            *group = found->gr_gid;
            fclose(file);
            return;
        }
    errno = 0;
    fail("the group", name);
}

static void find_user(const char *name, uid_t *user, gid_t *group, char *called, size_t size) {
    FILE *file = fopen("/etc/passwd", "re");
    struct passwd *found;
    int number = is_number(name);
    if (number) *user = (uid_t)strtoul(name, NULL, 10);
    while (file && (found = fgetpwent(file)))
        if (number ? found->pw_uid == *user : !strcmp(found->pw_name, name)) {
            *user = found->pw_uid, *group = found->pw_gid;
            snprintf(called, size, "%s", found->pw_name);
            break;
        }
    if (file) fclose(file);
    errno = 0;
    if (!number && !*called) fail("the user", name);
}

/* Not initgroups(3): that would load libraries for the name service. */
static int other_groups(const char *called, gid_t group, gid_t *groups) {
    int count = 0;
    groups[count++] = group;
    FILE *file = *called ? fopen("/etc/group", "re") : NULL;
    struct group *found;
    while (file && count < MOST_GROUPS && (found = fgetgrent(file)))
        for (char **member = found->gr_mem; *member; member++)
            if (!strcmp(*member, called) && found->gr_gid != group) {
                groups[count++] = found->gr_gid;
                break;
            }
    if (file) fclose(file);
    return count;
}

static void become(char *wanted) {
    char called[256] = "", *named_group = strchr(wanted, ':');
    if (named_group) *named_group++ = 0;
    uid_t user = 0;
    gid_t group = 0, groups[MOST_GROUPS];
    find_user(wanted, &user, &group, called, sizeof called);
    if (named_group && is_number(named_group)) group = (gid_t)strtoul(named_group, NULL, 10);
    else if (named_group && *named_group) find_group(named_group, &group);
    int count = 1;
    groups[0] = group;
    if (!named_group) count = other_groups(called, group, groups);
    if (setgroups((size_t)count, groups) || setgid(group) || setuid(user)) fail("becoming", wanted);
}

static void start_beside(char *line) {
    pid_t child = fork();
    if (child < 0) fail("starting", line);
    if (child > 0) return;
    char *words[MOST_WORDS + 1];
    int count = 0;
    for (char *word = strtok(line, " "); word && count < MOST_WORDS; word = strtok(NULL, " ")) words[count++] = word;
    words[count] = NULL;
    if (count) execv(words[0], words);
    fail("starting", line);
}

int main(int argc, char **argv) {
    char *user = NULL, *folder = NULL, *beside = NULL;
    clearenv();
    for (int option; (option = getopt(argc, argv, "+d:u:e:b:")) != -1;) switch (option) {
        case 'd': folder = optarg; break;
        case 'u': user = optarg; break;
        case 'b': beside = optarg; break;
        case 'e': putenv(optarg); break;
        default: return 127;
        }
    if (optind >= argc) fail("the command", "that is to run");
    if (beside) start_beside(beside);
    if (folder && chdir(folder)) fail("the folder", folder);
    if (user) become(user);
    execvp(argv[optind], argv + optind);
    fail("starting", argv[optind]);
}
