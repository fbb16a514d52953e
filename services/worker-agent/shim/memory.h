/* How often the kernel has killed in this container for want of memory. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdint.h>

/* Finds the counter; called once, before anything is asked. */
void memory_open(void);
/* The count so far, or -1 if nobody tells. */
int64_t memory_oom_kills(void);

#endif
