/* Rights of what a command wrote: opened up, so that whoever reads and deletes it can. */
#ifndef RIGHTS_H
#define RIGHTS_H

#include <stdint.h>

/* Gives owner and group access to everything below `path`, and itself; gives the last errno, or 0.
 * Symbolic links are left alone, and so is what is neither file nor directory. */
int rights_open_up(const char *path, int32_t *entries);

#endif
