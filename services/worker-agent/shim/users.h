/* Users by name or number, from the image's own files: no C library asks directories or networks. */
#ifndef USERS_H
#define USERS_H

#include <stdbool.h>
#include <sys/types.h>

enum { GROUPS_MAX = 256 };

/* Whom a command runs as. */
struct user {
    bool change; /* false: as whom the shim is; the rest means nothing then */
    uid_t uid;
    gid_t gid;
    size_t count;
    gid_t groups[GROUPS_MAX]; /* the container's (its volumes' group is one), without root's */
};

/* Finds `name`, `uid`, either with `:group` or `:gid` behind it; empty: nobody else.
 * Returns an errno: ENOENT where there is no such user. A uid that the image does not know has group 0
 * if none is said, as container engines have it. */
int user_find(const char *wanted, struct user *found);

/* Opens a file with this user's rights and no others; gives a descriptor, or -1 with errno set. */
int user_open(const struct user *user, const char *path, int flags);

/* Makes the calling process this user, by system calls only; returns an errno. */
int user_become(const struct user *user);

#endif
