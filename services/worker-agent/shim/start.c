/* Starts a command by `clone`, sharing memory with the child until it executes, as vfork does: nothing is
 * copied, however large the shim's own buffers are, and nothing is overcommitted in a container that is
 * nearly full. So the child makes system calls only, on a stack of its own; it allocates nothing, takes no
 * lock, and calls nothing of the library that does. All signals are blocked in the shim, none is handled
 * or ignored, so the child has but to unblock them.
 *
 * Why a command could not be started comes through a pipe that its execution closes. It is not left in
 * the shared memory, since there are kernels (emulators, above all) whose vfork copies.
 *
 * A child that becomes another user gets a copy of the memory all the same: between its change and
 * its execution another process of that user could look into it, and must not see the shim in it. */
#define _GNU_SOURCE
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes)
#endif

enum { STACK_BYTES = 64 * 1024 };

static const char DEFAULT_PATH[] = "/bin:/usr/bin";

struct order {
    const struct recipe *recipe;
    char **env;
    int report;
};

struct failure {
    int error;
    int step;
};

static const char *path_of(char **env) {
    for (; *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return DEFAULT_PATH;
}

/* Executes the file that a name stands for; returns the errno if it could not. */
static int execute(char **argv, char **env) {
    const char *name = argv[0];
    char file[PATH_MAX];
    size_t length = strlen(name);
    int error = ENOENT;
    if (strchr(name, '/') != NULL) {
        execve(name, argv, env);
        return errno;
    }
    for (const char *folder = path_of(env); folder != NULL;) {
        size_t size = strcspn(folder, ":");
        const char *next = folder[size] ? folder + size + 1 : NULL;
        if (size == 0) {
            folder = ".";
            size = 1;
        }
        if (size + 1 + length < sizeof file) {
            struct stat status;
            memcpy(file, folder, size);
            file[size] = '/';
            memcpy(file + size + 1, name, length + 1);
            if (stat(file, &status) == 0 && S_ISREG(status.st_mode)) {
                if (access(file, X_OK) == 0) {
                    execve(file, argv, env);
                    return errno;
                }
                error = EACCES;
            }
        }
        folder = next;
    }
    return error;
}

/* Everything up to the execution; returns only if something failed. */
static struct failure become(const struct order *order) {
    const struct recipe *recipe = order->recipe;
    sigset_t none;
    setsid();
    for (int at = 0; at < 3; at++)
        if (dup2(recipe->descriptors[at], at) < 0)
            return (struct failure){errno, STEP_COMMAND};
    int error = user_become(&recipe->user);
    if (error)
        return (struct failure){error, STEP_USER};
    umask(recipe->umask);
    if (recipe->cwd[0] && chdir(recipe->cwd) < 0)
        return (struct failure){errno, STEP_DIRECTORY};
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return (struct failure){execute(recipe->argv, order->env), STEP_COMMAND};
}

static int child(void *given) {
    const struct order *order = given;
    struct failure failure = become(order);
    while (write(order->report, &failure, sizeof failure) < 0 && errno == EINTR)
        continue;
    _exit(127);
}

struct started start_command(const struct recipe *recipe, char **env) {
    static alignas(16) unsigned char stack[STACK_BYTES];
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return (struct started){.error = errno};
    struct order order = {recipe, env, report[1]};
    /* A child that executes never returns: a sanitizer's marks of its variables would stay for the next. */
    ASAN_UNPOISON_MEMORY_REGION(stack, sizeof stack);
    int flags = recipe->user.change ? SIGCHLD : CLONE_VM | CLONE_VFORK | SIGCHLD;
    pid_t pid = clone(child, stack + sizeof stack, flags, &order);
    struct started started = {.pid = pid, .error = pid < 0 ? errno : 0};
    close(report[1]);
    if (pid > 0) {
        struct failure failure;
        ssize_t got;
        do
            got = read(report[0], &failure, sizeof failure);
        while (got < 0 && errno == EINTR);
        if (got == (ssize_t)sizeof failure) {
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                continue;
            started = (struct started){.error = failure.error, .step = failure.step};
        }
    }
    close(report[0]);
    return started;
}
