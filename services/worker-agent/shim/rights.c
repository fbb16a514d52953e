#define _GNU_SOURCE
#include "rights.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Directories that are still to be read: paths one behind the other, each ended by NUL. The newest is
 * read first; a command may make a thousand levels, so there is no recursion, and of a directory with
 * a million files only its own path is kept. */
struct waiting {
    char *paths;
    size_t used, room;
};

static bool push(struct waiting *waiting, const char *folder, const char *name) {
    size_t size = strlen(folder) + strlen(name) + 2;
    if (waiting->paths == NULL || waiting->used + size > waiting->room) {
        size_t room = (waiting->room + size) * 2;
        char *paths = realloc(waiting->paths, room);
        if (paths == NULL)
            return false;
        waiting->paths = paths;
        waiting->room = room;
    }
    char *place = waiting->paths + waiting->used;
    memcpy(place, folder, strlen(folder));
    place += strlen(folder);
    if (*name)
        *place++ = '/';
    memcpy(place, name, strlen(name) + 1);
    waiting->used = (size_t)(place - waiting->paths) + strlen(name) + 1;
    return true;
}

/* Takes the newest path off; it stays readable until the next `push`. */
static const char *pop(struct waiting *waiting) {
    size_t begin = waiting->used - 1;
    while (begin > 0 && waiting->paths[begin - 1] != 0)
        begin--;
    waiting->used = begin;
    return waiting->paths + begin;
}

/* Changes a mode by descriptor, which nobody can exchange for a link; by name where it cannot be
 * opened, as by its own user who has taken that right away. */
static int change(int folder, const char *name, mode_t mode) {
    int file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    int error;
    if (file >= 0) {
        error = fchmod(file, mode) < 0 ? errno : 0;
        close(file);
    } else {
        error = fchmodat(folder, name, mode, 0) < 0 ? errno : 0;
    }
    return error;
}

/* Opens up one entry; gives whether it is a directory. */
static bool open_one(int folder, const char *name, int *error, int32_t *entries) {
    struct stat status;
    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    bool directory = S_ISDIR(status.st_mode);
    if (!directory && !S_ISREG(status.st_mode))
        return false;
    *entries += *entries < INT32_MAX;
    mode_t mode = status.st_mode & 07777;
    mode_t owner = (mode & 0700) | (directory ? 0700 : 0600);
    mode_t wanted = mode | owner | owner >> 3;
    if (wanted != mode) {
        int problem = change(folder, name, wanted);
        *error = problem ? problem : *error;
    }
    return directory;
}

static void read_folder(struct waiting *waiting, char *path, int *error, int32_t *entries) {
    int number = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = number < 0 ? NULL : fdopendir(number);
    if (folder == NULL) {
        if (number >= 0)
            close(number);
        return;
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (open_one(number, name, error, entries) && !push(waiting, path, name))
            *error = ENOMEM;
    }
    closedir(folder);
}

int rights_open_up(const char *path, int32_t *entries) {
    struct waiting waiting = {0};
    int error = 0;
    *entries = 0;
    if (open_one(AT_FDCWD, path, &error, entries) && !push(&waiting, path, ""))
        error = ENOMEM;
    while (waiting.used > 0) {
        char *folder = strdup(pop(&waiting));
        if (folder == NULL) {
            error = ENOMEM;
            break;
        }
        read_folder(&waiting, folder, &error, entries);
        free(folder);
    }
    free(waiting.paths);
    return error;
}
