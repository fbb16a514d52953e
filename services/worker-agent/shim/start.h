/* Starts a command in a session of its own. */
#ifndef START_H
#define START_H

#include <sys/types.h>

#include "recipe.h"

/* What came of it: a process, or why there is none. */
struct started {
    pid_t pid; /* above 0 if it runs */
    int error;
    int step; /* one of `enum step` */
};

struct started start_command(const struct recipe *recipe, char **env);

#endif
