#define _GNU_SOURCE
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "children.h"
#include "memory.h"
#include "protocol.h"
#include "recipe.h"
#include "rights.h"
#include "start.h"
#include "users.h"
#include "wire.h"

struct shim {
    struct link link;
    struct commands commands;
    struct recipe recipes[RECIPES];
    bool bye;
};

static void say_hello(const struct link *link, bool terminating) {
    struct stat status;
    bool mounted = stat("/pfs", &status) == 0 && S_ISDIR(status.st_mode);
    uint32_t flags = (terminating ? HELLO_TERMINATING : 0) | (mounted ? HELLO_PFS_MOUNTED : 0);
    unsigned char payload[16];
    put_u32(payload, PROTOCOL_VERSION);
    put_u32(payload + 4, getuid());
    put_u32(payload + 8, getgid());
    put_u32(payload + 12, flags);
    link_send(link, KIND_HELLO, 0, payload, sizeof payload, -1);
}

/* --- the agent's frames ------------------------------------------------------------------------- */

static bool keep(struct shim *shim, const struct frame *frame) {
    int descriptors[3];
    if (frame->id >= RECIPES || !link_descriptors(&shim->link, descriptors))
        return false;
    struct recipe *recipe = &shim->recipes[frame->id];
    recipe_forget(recipe);
    return recipe_read(recipe, frame, descriptors);
}

/* Starts a command and counts it among those that run, or says why not. */
static struct started begin(struct commands *commands, uint32_t id, const struct recipe *recipe,
                            char **env) {
    struct command command = {
        .id = id, .oom_kills = memory_oom_kills(), .began_us = now_us()};
    if (commands->count == COMMANDS_MAX)
        return (struct started){.error = EAGAIN};
    struct started started = start_command(recipe, env);
    command.pid = started.pid;
    if (started.pid > 0)
        commands->running[commands->count++] = command;
    return started;
}

static bool spawn(struct shim *shim, const struct frame *frame) {
    struct reader reader = reader_of(frame->payload, frame->size);
    uint32_t number = read_u32(&reader);
    if (reader.bad || number >= RECIPES || !shim->recipes[number].known)
        return false;
    const struct recipe *recipe = &shim->recipes[number];
    struct started started;
    int error = 0;
    char **env = recipe_environment(recipe, &reader, &error);
    if (env == NULL && error == 0)
        return false;
    if (recipe->error)
        started = (struct started){.error = recipe->error, .step = recipe->step};
    else if (error)
        started = (struct started){.error = error};
    else
        started = begin(&shim->commands, frame->id, recipe, env);
    free(env);
    if (started.error)
        link_send_pair(&shim->link, KIND_SPAWN, frame->id, started.error, started.step, -1);
    return true;
}

static bool kill_group(const struct shim *shim, const struct frame *frame) {
    struct reader reader = reader_of(frame->payload, frame->size);
    uint32_t number = read_u32(&reader);
    if (reader.bad)
        return false;
    for (size_t at = 0; at < shim->commands.count; at++)
        if (shim->commands.running[at].id == frame->id)
            kill(-shim->commands.running[at].pid, (int)(number & INT32_MAX));
    return true;
}

static bool open_up(const struct shim *shim, const struct frame *frame) {
    struct reader reader = reader_of(frame->payload, frame->size);
    const char *path = read_string(&reader);
    if (path == NULL)
        return false;
    int32_t entries;
    int error = rights_open_up(path, &entries);
    link_send_pair(&shim->link, KIND_CHMOD, frame->id, error, entries, -1);
    return true;
}

static bool open_file(const struct shim *shim, const struct frame *frame) {
    struct reader reader = reader_of(frame->payload, frame->size);
    int flags = (int)(read_u32(&reader) & INT32_MAX);
    const char *path = read_string(&reader);
    const char *name = read_string(&reader);
    if (path == NULL || name == NULL)
        return false;
    struct user user;
    int error = user_find(name, &user);
    int file = -1;
    if (error == 0) {
        /* A pipe that nobody writes to must not hold us up. */
        file = user_open(&user, path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        error = file < 0 ? errno : 0;
    }
    link_send_pair(&shim->link, KIND_OPEN, frame->id, error, 0, file);
    if (file >= 0)
        close(file);
    return true;
}

static bool take(struct shim *shim, const struct frame *frame) {
    switch (frame->kind) {
    case KIND_RECIPE:
        return keep(shim, frame);
    case KIND_SPAWN:
        return spawn(shim, frame);
    case KIND_KILL:
        return kill_group(shim, frame);
    case KIND_CHMOD:
        return open_up(shim, frame);
    case KIND_OPEN:
        return open_file(shim, frame);
    case KIND_BYE:
        shim->bye = true;
        return true;
    default:
        return true; /* of a newer agent */
    }
}

/* Receives once and takes all frames that are complete; false: the connection has ended. */
static bool take_frames(struct shim *shim) {
    if (!link_receive(&shim->link))
        return false;
    struct frame frame;
    size_t at = 0;
    int found = 0;
    while (!shim->bye && (found = link_next(&shim->link, &at, &frame)) > 0)
        if (!take(shim, &frame))
            return false;
    link_taken(&shim->link, at);
    return found >= 0;
}

/* --- the end of commands ------------------------------------------------------------------------ */

static int64_t microseconds(struct timeval time) {
    return (int64_t)time.tv_sec * 1000000 + time.tv_usec;
}

static void tell(const struct link *link, const struct command *command, int left) {
    int64_t kills = memory_oom_kills();
    const struct rusage *usage = &command->usage;
    const int64_t told[EXITED_FIELDS] = {
        command->status,
        command->wall_us,
        microseconds(usage->ru_utime),
        microseconds(usage->ru_stime),
        usage->ru_maxrss,
        usage->ru_majflt,
        usage->ru_inblock,
        usage->ru_oublock,
        kills < 0 || command->oom_kills < 0 ? -1 : kills - command->oom_kills,
        left,
    };
    unsigned char payload[sizeof told];
    for (size_t at = 0; at < EXITED_FIELDS; at++)
        put_i64(payload + 8 * at, told[at]);
    link_send(link, KIND_KILL, command->id, payload, sizeof payload, -1);
}

static void reap(struct shim *shim) {
    struct command ended[COMMANDS_MAX];
    int left;
    size_t count = children_reap(&shim->commands, ended, &left);
    for (size_t at = 0; at < count; at++)
        tell(&shim->link, &ended[at], left);
}

static void end_all(struct shim *shim) {
    for (size_t at = 0; at < shim->commands.count; at++)
        kill(-shim->commands.running[at].pid, SIGKILL);
    shim->commands.count = 0;
    children_sweep();
    for (size_t at = 0; at < RECIPES; at++)
        recipe_forget(&shim->recipes[at]);
    link_close(&shim->link);
}

/* --- the life of a connection ------------------------------------------------------------------- */

bool signals_taken(struct standing *standing) {
    struct signalfd_siginfo info;
    bool counts = false;
    while (read(standing->signals, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo == SIGTERM && !(standing->inside && info.ssi_pid != 0))
            counts = true;
    standing->terminating |= counts;
    return counts;
}

bool serve(struct standing *standing, int socket) {
    static struct shim shim;
    shim = (struct shim){.bye = false};
    link_open(&shim.link, socket);
    say_hello(&shim.link, standing->terminating);
    struct pollfd polled[] = {
        {.fd = socket, .events = POLLIN},
        {.fd = standing->signals, .events = POLLIN},
    };
    bool alive = true;
    while (alive && !shim.bye) {
        if (poll(polled, 2, -1) < 0)
            continue; /* EINTR */
        if (polled[1].revents) {
            if (signals_taken(standing))
                link_send(&shim.link, KIND_TERM, 0, NULL, 0, -1);
            reap(&shim);
        }
        if (polled[0].revents)
            alive = take_frames(&shim);
    }
    end_all(&shim);
    return shim.bye;
}
