/* A command for a container that holds nothing else: does what its first argument says. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

/* Prints who and where it is. */
static int look(void) {
    char folder[512];
    gid_t groups[64];
    int count = getgroups(64, groups);
    if (getcwd(folder, sizeof folder) == NULL)
        return 1;
    printf("pid %d uid %d gid %d in %s\n", getpid(), getuid(), getgid(), folder);
    for (int at = 0; at < count; at++)
        printf("group %d\n", groups[at]);
    for (char **each = environ; *each; each++)
        printf("%s\n", *each);
    for (int number = 3; number < 256; number++)
        if (fcntl(number, F_GETFD) >= 0)
            printf("descriptor %d is open\n", number);
    return 0;
}

/* Leaves a process behind that nobody has for a child, in a session of its own, holding a file lock: who
 * cannot see processes can see that. Ends when the lock is held. */
static int escape(const char *path) {
    int ready[2];
    char byte;
    if (pipe(ready) < 0)
        return 1;
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            struct flock lock = {.l_type = F_WRLCK};
            setsid();
            int file = open(path, O_RDWR | O_CREAT, 0666);
            fcntl(file, F_SETLK, &lock);
            if (write(ready[1], "x", 1) != 1)
                _exit(1);
            for (;;)
                pause();
        }
        _exit(0);
    }
    return read(ready[0], &byte, 1) == 1 ? 0 : 1;
}

/* Writes to a file and dies as one dies whom the kernel kills for memory. */
static int run_out_of_memory(const char *path) {
    int file = open(path, O_WRONLY | O_TRUNC);
    const char text[] = "low 0\noom 1\noom_kill 7\n";
    if (file < 0 || write(file, text, sizeof text - 1) < 0)
        return 1;
    return kill(getpid(), SIGKILL);
}

int main(int count, char **given) {
    const char *verb = count > 1 ? given[1] : "look";
    const char *path = count > 2 ? given[2] : "";
    if (strcmp(verb, "look") == 0)
        return look();
    if (strcmp(verb, "exit") == 0)
        return atoi(path);
    if (strcmp(verb, "escape") == 0)
        return escape(path);
    if (strcmp(verb, "oom") == 0)
        return run_out_of_memory(path);
    if (strcmp(verb, "term") == 0) {
        kill(1, SIGTERM);
        kill(1, SIGKILL);
        return 0;
    }
    if (strcmp(verb, "wait") == 0)
        for (;;)
            pause();
    return 64;
}
