/* Made from protocol.py by `make docs`: change that. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

enum {
    PROTOCOL_VERSION = 4,
    RECIPES = 16,
    FRAME_MAX_BYTES = 16777216,
    BODY_MIN = 5,
    DESCRIPTORS_MAX = 64,
    EXITED_FIELDS = 10,
    ANSWER_MAX_BYTES = 80,
    EXIT_DONE = 0,
    EXIT_AGENT_LOST = 75,
};

enum kind {
    KIND_SPAWN = 1,
    KIND_KILL = 2,
    KIND_TERM = 3,
    KIND_BYE = 4,
    KIND_CHMOD = 5,
    KIND_OPEN = 6,
    KIND_RECIPE = 7,
    KIND_MOUNT = 8,
    KIND_HELLO = 9,
};

enum step {
    STEP_COMMAND = 0,
    STEP_DIRECTORY = 1,
    STEP_USER = 2,
};

enum hello_flag {
    HELLO_TERMINATING = 1,
    HELLO_PFS_MOUNTED = 2,
};

enum recipe_flag {
    RECIPE_INHERIT_ENV = 1,
};

#endif
