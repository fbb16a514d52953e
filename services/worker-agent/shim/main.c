/* The shim: the first process of the user's container, which starts, signals and reaps commands for an agent
 * in another one. `protocol.py` has the frames, and `shim.py` the same shim in Python, with what both
 * guarantee; here it is static, for images that hold nothing.
 *
 *     shim <path of the agent's socket> <seconds to wait for it>
 *
 * It holds nothing that must be kept from user code, and needs nothing of the image: no shell, no library,
 * no writable directory, not even /proc. An exit costs a container restart with a back-off of ten seconds and
 * more, so it does not exit while the agent is only starting anew; it kills what ran and connects again.
 *
 * What a crash leaves: this process is the first of its pid namespace, so the kernel kills everything in it
 * when it ends, and the agent sees the end of file. Elsewhere its commands live on until their parent, who
 * must be a subreaper, sees to them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "children.h"
#include "memory.h"
#include "protocol.h"
#include "serve.h"

enum {
    EXIT_USAGE = 64,
    RETRY_MS = 20,
    /* After SIGTERM: one that is only starting may still have to be told; one that had begun is over. */
    TERMINATING_FIRST_US = 10 * 1000 * 1000,
    TERMINATING_AGAIN_US = 3 * 1000 * 1000,
};

/* Says something on standard error, unless nobody takes it: that must not hold a container up. */
__attribute__((format(printf, 1, 2))) static void say(const char *text, ...) {
    struct pollfd polled = {.fd = STDERR_FILENO, .events = POLLOUT};
    char line[512];
    va_list given;
    va_start(given, text);
    int size = vsnprintf(line, sizeof line, text, given);
    va_end(given);
    if (size > 0 && poll(&polled, 1, 0) > 0 && polled.revents & POLLOUT)
        dprintf(STDERR_FILENO, "shim: %s\n", line);
}

/* Makes this process a shim: a session, a subreaper, not looked into, no signal handled or ignored (a
 * command would inherit that) and all blocked, SIGPIPE too. Gives the descriptor of its signals. */
static int prepare(void) {
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t all, taken;
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &plain, NULL);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigemptyset(&taken);
    sigaddset(&taken, SIGCHLD);
    sigaddset(&taken, SIGTERM);
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    int place;
    do /* what comes from the agent must not lie at 0, 1 or 2: the commands' own go there */
        place = open("/", O_PATH | O_CLOEXEC);
    while (place >= 0 && place <= STDERR_FILENO);
    if (place > STDERR_FILENO)
        close(place);
    return signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Gives a socket to the agent, or -1 with errno. It does not wait for an agent that listens and accepts
 * nobody: it would not hear a SIGTERM then. */
static int meet(const struct sockaddr_un *address) {
    int number = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (number < 0)
        return -1;
    if (connect(number, (const struct sockaddr *)address, sizeof *address) == 0 &&
        fcntl(number, F_SETFL, 0) == 0)
        return number;
    int error = errno;
    close(number);
    errno = error;
    return -1;
}

static int serve_all(struct standing *standing, const struct sockaddr_un *address,
                     int64_t patience_us) {
    int64_t since_us = now_us();
    int64_t terminating_us = TERMINATING_FIRST_US;
    for (;;) {
        int number = meet(address);
        if (number >= 0) {
            if (serve(standing, number))
                return EXIT_DONE;
            say("the agent is gone; all commands are killed");
            since_us = now_us();
            terminating_us = TERMINATING_AGAIN_US;
            continue;
        }
        int error = errno;
        if (now_us() - since_us > (standing->terminating ? terminating_us : patience_us)) {
            say("no agent on %s: %s", address->sun_path, strerror(error));
            return EXIT_AGENT_LOST;
        }
        struct pollfd polled = {.fd = standing->signals, .events = POLLIN};
        if (poll(&polled, 1, RETRY_MS) > 0) {
            struct command none[COMMANDS_MAX];
            struct commands commands = {.count = 0};
            int left;
            signals_taken(standing);
            children_reap(&commands, none, &left);
        }
    }
}

int main(int count, char **given) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char *end = NULL;
    double seconds = count == 3 ? strtod(given[2], &end) : -1;
    if (count != 3 || *end || !(seconds >= 0 && seconds < 1e9) ||
        strlen(given[1]) >= sizeof address.sun_path) {
        say("usage: shim <path of the agent's socket> <seconds to wait for it>");
        return EXIT_USAGE;
    }
    memcpy(address.sun_path, given[1], strlen(given[1]) + 1);
    struct standing standing = {.signals = prepare(), .inside = getpid() == 1};
    if (standing.signals < 0) {
        say("no signals can be taken: %s", strerror(errno));
        return EXIT_USAGE;
    }
    memory_open();
    return serve_all(&standing, &address, (int64_t)(seconds * 1e6));
}
