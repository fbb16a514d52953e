/* How commands are started: what a RECIPE says, and a command's own variables above it. */
#ifndef RECIPE_H
#define RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "users.h"
#include "wire.h"

/* `K=V` texts, sorted by key, each key once. */
struct variables {
    char **list;
    size_t count;
};

struct recipe {
    bool known;
    int error; /* why no command can be started by it, an errno, or 0 */
    int step; /* what that would be told of, one of `enum step` */
    char *text; /* the payload that all strings but inherited ones lie in */
    char **argv;
    const char *cwd;
    mode_t umask;
    struct variables env;
    struct user user;
    int descriptors[3];
};

/* Keeps what a RECIPE frame says, which takes over the descriptors; false if it says nothing whole. */
bool recipe_read(struct recipe *recipe, const struct frame *frame, const int descriptors[3]);
void recipe_forget(struct recipe *recipe);

/* Reads a command's own variables from the rest of a SPAWN frame, and puts the recipe's below them.
 * Gives the list, which ends in NULL and is to be freed, or NULL with an errno in `*error`: 0 there
 * means that the frame is none. */
char **recipe_environment(const struct recipe *recipe, struct reader *reader, int *error);

#endif
