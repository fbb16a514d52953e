#define _GNU_SOURCE
#include "users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* passwd: name:password:uid:gid:...    group: name:password:gid:... */
static const char PASSWD[] = "/etc/passwd";
static const char GROUP[] = "/etc/group";
enum { FIELDS = 4, LINE_MAX_BYTES = 1024 };

struct line {
    char *fields[FIELDS];
};

/* A number of decimal digits below 2^32 - 1, which stands for no user. */
static bool number_of(const char *text, uint32_t *number) {
    uint64_t value = 0;
    if (*text == 0)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
        if (value >= UINT32_MAX)
            return false;
    }
    *number = (uint32_t)value;
    return true;
}

static void split(char *text, struct line *line) {
    static char none[] = "";
    for (int at = 0; at < FIELDS; at++) {
        line->fields[at] = text == NULL ? none : text;
        char *colon = text == NULL ? NULL : strchr(text, ':');
        if (colon != NULL)
            *colon++ = 0;
        text = colon;
    }
}

/* Gives the first line whose field `column` is `wanted`. The beginning of a line is all that is
 * looked at: what matters stands there, and the members of a group may be many. */
static bool find_line(const char *path, int column, const char *wanted, char text[LINE_MAX_BYTES],
                      struct line *line) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return false;
    char data[4096];
    size_t length = 0;
    bool found = false;
    ssize_t got = 1;
    while (!found && got > 0) {
        got = read(file, data, sizeof data);
        if (got <= 0)
            data[0] = '\n'; /* the last line may have no end */
        for (ssize_t at = 0; !found && at < (got > 0 ? got : 1); at++) {
            if (data[at] != '\n') {
                if (length < LINE_MAX_BYTES - 1)
                    text[length++] = data[at];
                continue;
            }
            text[length] = 0;
            length = 0;
            split(text, line);
            found = strcmp(line->fields[column], wanted) == 0;
        }
    }
    close(file);
    return found;
}

static int find_group(const char *wanted, gid_t *gid) {
    char text[LINE_MAX_BYTES];
    struct line line;
    if (number_of(wanted, gid))
        return 0;
    bool found = *wanted && find_line(GROUP, 0, wanted, text, &line);
    return found && number_of(line.fields[2], gid) ? 0 : ENOENT;
}

static int find_ids(char *name, const char *group, struct user *found) {
    char text[LINE_MAX_BYTES];
    struct line line;
    bool number = number_of(name, &found->uid);
    bool known = *name && find_line(PASSWD, number ? 2 : 0, name, text, &line);
    if (known) {
        if (!number_of(line.fields[2], &found->uid) || !number_of(line.fields[3], &found->gid))
            return ENOENT;
    } else if (!number) {
        return ENOENT;
    }
    return group == NULL ? 0 : find_group(group, &found->gid);
}

/* Gives the groups that the container has beside its user's: the volumes' one, which /pfs needs. */
static void find_others(struct user *found) {
    gid_t all[GROUPS_MAX];
    int count = getgroups(GROUPS_MAX, all);
    for (int at = 0; at < count; at++)
        if (all[at] != 0)
            found->groups[found->count++] = all[at];
}

int user_find(const char *wanted, struct user *found) {
    char name[256];
    *found = (struct user){.change = false};
    size_t length = strlen(wanted);
    if (length == 0)
        return 0;
    if (length >= sizeof name)
        return ENOENT;
    memcpy(name, wanted, length + 1);
    char *colon = strchr(name, ':');
    if (colon != NULL)
        *colon++ = 0;
    int error = find_ids(name, colon, found);
    if (error)
        return error;
    found->change = found->uid != getuid() || found->gid != getgid();
    find_others(found);
    return 0;
}

int user_become(const struct user *user) {
    if (!user->change)
        return 0;
    /* The library's own functions would speak to threads that there are not. */
    if (syscall(SYS_setgroups, user->count, user->groups) < 0 ||
        syscall(SYS_setresgid, user->gid, user->gid, user->gid) < 0 ||
        syscall(SYS_setresuid, user->uid, user->uid, user->uid) < 0)
        return errno;
    return 0;
}

static bool become_for_now(const struct user *user) {
    return syscall(SYS_setgroups, user->count, user->groups) == 0 &&
           syscall(SYS_setresgid, -1, user->gid, -1) == 0 &&
           syscall(SYS_setresuid, -1, user->uid, -1) == 0;
}

/* Real and saved ids stay ours, so no process of that user may signal or look into this one meanwhile;
 * and they are what leads back. */
int user_open(const struct user *user, const char *path, int flags) {
    gid_t groups[GROUPS_MAX];
    if (!user->change)
        return open(path, flags, 0666);
    int count = getgroups(GROUPS_MAX, groups);
    if (count < 0)
        return -1;
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int file = become_for_now(user) ? open(path, flags, 0666) : -1;
    int error = errno;
    bool back = syscall(SYS_setresuid, -1, uid, -1) == 0 &&
                syscall(SYS_setresgid, -1, gid, -1) == 0;
    if (!back || (syscall(SYS_setgroups, count, groups) < 0 && uid == 0))
        abort(); /* as nobody knows whom, nothing more is done */
    errno = error;
    return file;
}
