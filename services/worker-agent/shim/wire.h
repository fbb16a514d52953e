/* Frames from and to the agent: cut out of the stream, strictly checked, and put together. */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

struct link {
    int socket; /* below 0: nobody is there */
    unsigned char *data;
    size_t have, room;
    int descriptors[DESCRIPTORS_MAX]; /* came, and belong to no recipe yet */
    size_t waiting;
};

struct frame {
    unsigned kind;
    uint32_t id;
    const unsigned char *payload;
    size_t size;
};

/* Reads a payload from its beginning; `bad` once something was not there, and stays so. */
struct reader {
    const unsigned char *at, *end;
    bool bad;
};

/* Takes over a connected socket. */
void link_open(struct link *link, int socket);
/* Closes the socket and what came and was not used; frees what it holds. */
void link_close(struct link *link);
/* Receives once; false at the end of file, and at whatever ends the connection. */
bool link_receive(struct link *link);
/* Gives the frame that begins at `*at` and moves on: 1; 0: it is not complete; -1: it is none. */
int link_next(const struct link *link, size_t *at, struct frame *frame);
/* Forgets the first bytes, of which all frames were taken. */
void link_taken(struct link *link, size_t count);
/* Gives the three descriptors of a recipe, which are the caller's from now on; false: too few. */
bool link_descriptors(struct link *link, int found[3]);
/* Sends one frame, with a descriptor if that is not below 0. An agent that is gone is no error:
 * end of file follows. */
void link_send(const struct link *link, unsigned kind, uint32_t id, const void *payload,
               size_t size, int descriptor);
/* Sends NOT STARTED, CHMODDED or OPENED. */
void link_send_pair(const struct link *link, unsigned kind, uint32_t id, int32_t first,
                    int32_t second, int descriptor);

struct reader reader_of(const unsigned char *payload, size_t size);
uint32_t read_u32(struct reader *reader);
/* How many strings follow: never more than there are bytes. */
size_t read_count(struct reader *reader);
/* A string within the payload, or NULL. */
const char *read_string(struct reader *reader);

/* Little-endian, at `place`. */
void put_u32(unsigned char *place, uint32_t value);
void put_i64(unsigned char *place, int64_t value);

#endif
