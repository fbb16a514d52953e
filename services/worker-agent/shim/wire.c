#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HEADER_BYTES = 9,
    LENGTH_BYTES = 4,
    FIRST_BYTES = 16 * 1024, /* more than most frames */
};

union ancillary { /* aligned as the kernel wants it */
    struct cmsghdr header;
    unsigned char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
};

static uint32_t get_u32(const unsigned char *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

void put_u32(unsigned char *place, uint32_t value) {
    for (int at = 0; at < 4; at++)
        place[at] = (unsigned char)(value >> (8 * at));
}

void put_i64(unsigned char *place, int64_t value) {
    put_u32(place, (uint32_t)value);
    put_u32(place + 4, (uint32_t)((uint64_t)value >> 32));
}

void link_open(struct link *link, int socket) {
    *link = (struct link){.socket = socket};
}

void link_close(struct link *link) {
    if (link->socket >= 0)
        close(link->socket);
    for (size_t at = 0; at < link->waiting; at++)
        close(link->descriptors[at]);
    free(link->data);
    link_open(link, -1);
}

/* Makes room for the frame that has begun, and for any beginning. A length that nobody has sent the
 * bytes for costs addresses, not memory. */
static bool make_room(struct link *link) {
    size_t wanted = FIRST_BYTES;
    if (link->have >= LENGTH_BYTES && get_u32(link->data) + LENGTH_BYTES > wanted)
        wanted = get_u32(link->data) + LENGTH_BYTES;
    if (link->room == wanted)
        return true;
    unsigned char *data = realloc(link->data, wanted);
    if (data == NULL)
        return false;
    link->data = data;
    link->room = wanted;
    return true;
}

/* Keeps what came beside some bytes; false if it is more than is ever meant to be. */
static bool keep_descriptors(struct link *link, struct msghdr *message) {
    bool fit = !(message->msg_flags & MSG_CTRUNC);
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each; each = CMSG_NXTHDR(message, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t at = 0; at < count; at++) {
            int number;
            memcpy(&number, CMSG_DATA(each) + at * sizeof number, sizeof number);
            if (link->waiting < DESCRIPTORS_MAX) {
                link->descriptors[link->waiting++] = number;
            } else {
                close(number);
                fit = false;
            }
        }
    }
    return fit;
}

bool link_receive(struct link *link) {
    if (!make_room(link))
        return false;
    union ancillary ancillary;
    struct iovec part = {link->data + link->have, link->room - link->have};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = &ancillary,
        .msg_controllen = sizeof ancillary,
    };
    ssize_t got = recvmsg(link->socket, &message, MSG_CMSG_CLOEXEC);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN;
    bool fit = keep_descriptors(link, &message);
    link->have += (size_t)got;
    return got > 0 && fit;
}

int link_next(const struct link *link, size_t *at, struct frame *frame) {
    size_t left = link->have - *at;
    if (left < LENGTH_BYTES)
        return 0;
    const unsigned char *begin = link->data + *at;
    uint32_t length = get_u32(begin);
    if (length < BODY_MIN || length > FRAME_MAX_BYTES)
        return -1;
    if (left - LENGTH_BYTES < length)
        return 0;
    *frame = (struct frame){
        .kind = begin[4],
        .id = get_u32(begin + 5),
        .payload = begin + HEADER_BYTES,
        .size = length - BODY_MIN,
    };
    *at += LENGTH_BYTES + length;
    return 1;
}

void link_taken(struct link *link, size_t count) {
    link->have -= count;
    if (count > 0 && link->have > 0)
        memmove(link->data, link->data + count, link->have);
}

bool link_descriptors(struct link *link, int found[3]) {
    if (link->waiting < 3)
        return false;
    memcpy(found, link->descriptors, 3 * sizeof(int));
    link->waiting -= 3;
    memmove(link->descriptors, link->descriptors + 3, link->waiting * sizeof(int));
    return true;
}

void link_send(const struct link *link, unsigned kind, uint32_t id, const void *payload,
               size_t size, int descriptor) {
    unsigned char data[HEADER_BYTES + ANSWER_MAX_BYTES];
    union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(sizeof(int))];
    } ancillary = {0};
    put_u32(data, (uint32_t)size + BODY_MIN);
    data[4] = (unsigned char)kind;
    put_u32(data + 5, id);
    if (size > 0)
        memcpy(data + HEADER_BYTES, payload, size);
    struct iovec part = {data, HEADER_BYTES + size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptor >= 0) {
        message.msg_control = &ancillary;
        message.msg_controllen = sizeof ancillary;
        ancillary.header = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &descriptor, sizeof descriptor);
    }
    while (part.iov_len > 0) {
        ssize_t sent = sendmsg(link->socket, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return;
        part.iov_base = (unsigned char *)part.iov_base + sent;
        part.iov_len -= (size_t)sent;
        message.msg_control = NULL; /* it went with the first byte */
        message.msg_controllen = 0;
    }
}

void link_send_pair(const struct link *link, unsigned kind, uint32_t id, int32_t first,
                    int32_t second, int descriptor) {
    unsigned char payload[8];
    put_u32(payload, (uint32_t)first);
    put_u32(payload + 4, (uint32_t)second);
    link_send(link, kind, id, payload, sizeof payload, descriptor);
}

struct reader reader_of(const unsigned char *payload, size_t size) {
    return (struct reader){.at = payload, .end = payload + size};
}

uint32_t read_u32(struct reader *reader) {
    if (reader->bad || reader->end - reader->at < 4) {
        reader->bad = true;
        return 0;
    }
    reader->at += 4;
    return get_u32(reader->at - 4);
}

size_t read_count(struct reader *reader) {
    size_t count = read_u32(reader);
    if (count > (size_t)(reader->end - reader->at)) /* each takes a byte at least */
        reader->bad = true;
    return reader->bad ? 0 : count;
}

const char *read_string(struct reader *reader) {
    size_t left = (size_t)(reader->end - reader->at);
    const unsigned char *end = reader->bad || left == 0 ? NULL : memchr(reader->at, 0, left);
    if (end == NULL) {
        reader->bad = true;
        return NULL;
    }
    const char *text = (const char *)reader->at;
    reader->at = end + 1;
    return text;
}
