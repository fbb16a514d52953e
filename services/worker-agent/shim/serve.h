/* One connection to an agent and the commands that it started. */
#ifndef SERVE_H
#define SERVE_H

#include <stdbool.h>

struct standing {
    int signals;      /* a descriptor that gives SIGCHLD and SIGTERM */
    bool inside;      /* the first process of a container: only a SIGTERM from outside counts */
    bool terminating; /* it came */
};

/* Takes what the signal descriptor has; gives whether a SIGTERM that counts is among it. */
bool signals_taken(struct standing *standing);

/* Serves the agent at the other end of a socket until it is gone, then kills all that runs; gives whether
 * it said BYE. */
bool serve(struct standing *standing, int socket);

#endif
