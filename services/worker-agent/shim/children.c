#define _GNU_SOURCE
#include "children.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    SWEEP_US = 5000 * 1000, /* a process in a device's I/O ignores SIGKILL; nobody waits longer */
    ALL_US = 500 * 1000,    /* after this, whoever is in the container is killed */
    PAUSE_FIRST_US = 200,
    PAUSE_LAST_US = 50 * 1000,
};

int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static struct command *running(struct commands *commands, pid_t pid) {
    for (size_t at = 0; at < commands->count; at++)
        if (commands->running[at].pid == pid)
            return &commands->running[at];
    return NULL;
}

size_t children_reap(struct commands *commands, struct command ended[COMMANDS_MAX], int *left) {
    size_t count = 0;
    bool alone = false;
    for (;;) {
        siginfo_t info = {.si_pid = 0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
            if (errno == EINTR)
                continue;
            alone = true; /* ECHILD */
            break;
        }
        if (info.si_pid == 0)
            break;
        struct command *command = running(commands, info.si_pid);
        if (command == NULL) {
            waitpid(info.si_pid, NULL, 0);
            continue;
        }
        kill(-command->pid, SIGKILL);
        wait4(command->pid, &command->status, 0, &command->usage);
        command->wall_us = now_us() - command->began_us;
        ended[count++] = *command;
        *command = commands->running[--commands->count];
    }
    *left = count > 0 && !alone && commands->count == 0 ? children_sweep() : 0;
    return count;
}

/* Whether /proc tells of this process's own namespace: another one's numbers would be strangers. */
static bool proc_is_ours(void) {
    char text[16];
    ssize_t size = readlink("/proc/self", text, sizeof text - 1);
    if (size <= 0)
        return false;
    text[size] = 0;
    return strtol(text, NULL, 10) == getpid();
}

/* Kills each child; gives how many there are, or -1 if nobody can tell. */
static int kill_children(void) {
    int file = proc_is_ours() ? open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return -1;
    char data[4096];
    int count = 0;
    pid_t pid = 0;
    ssize_t got;
    while ((got = read(file, data, sizeof data)) > 0) {
        for (ssize_t at = 0; at < got; at++) {
            if (data[at] >= '0' && data[at] <= '9') {
                pid = pid * 10 + (data[at] - '0');
            } else if (pid > 0) {
                kill(pid, SIGKILL);
                count++;
                pid = 0;
            }
        }
    }
    close(file);
    return got < 0 ? -1 : count;
}

static void pause_us(int64_t microseconds) {
    struct timespec time = {0, (long)microseconds * 1000};
    nanosleep(&time, NULL);
}

int children_sweep(void) {
    int64_t began_us = now_us(), pause = PAUSE_FIRST_US;
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0 && errno == ECHILD)
            return 0;
        if (pid != 0)
            continue;
        int64_t passed_us = now_us() - began_us;
        int alive = kill_children();
        if (passed_us > SWEEP_US)
            return alive > 0 ? alive : 1;
        /* One who forks faster than we look is met by killing all at once. That spares nobody whom
         * somebody sent into the container to look around, so it is not the first thing to do. */
        if (getpid() == 1 && (alive < 0 || passed_us > ALL_US))
            kill(-1, SIGKILL);
        pause_us(pause);
        pause = pause * 2 < PAUSE_LAST_US ? pause * 2 : PAUSE_LAST_US;
    }
}
