/* The shim's children, and what becomes its child when those end: found, killed, reaped. */
#ifndef CHILDREN_H
#define CHILDREN_H

#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

/* A command that runs, or has ended and is not told yet. */
struct command {
    pid_t pid;
    uint32_t id;
    int64_t began_us, wall_us;
    int64_t oom_kills; /* of the container, when it began */
    int status;
    struct rusage usage;
};

/* More commands at once than any agent runs. */
enum { COMMANDS_MAX = 64 };

struct commands {
    struct command running[COMMANDS_MAX];
    size_t count;
};

int64_t now_us(void);

/* Reaps all zombies. A command's leader is reaped after its group was killed, so that the group's number
 * cannot have become another's. Moves those that ended into `ended` and gives how many; `*left` is how many
 * other descendants could not be killed, which is looked at once no command runs. */
size_t children_reap(struct commands *commands, struct command ended[COMMANDS_MAX], int *left);

/* Kills and reaps all children, and what becomes a child by that; gives how many could not be, which is
 * known after some seconds. Mostly it is over at once. */
int children_sweep(void);

#endif
