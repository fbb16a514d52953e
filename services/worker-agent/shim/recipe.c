#define _GNU_SOURCE
#include "recipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The kernel takes 6 MiB of strings and pointers, so less than this many. */
enum { STRINGS_MAX = 1 << 20 };

extern char **environ;

static int by_key(const char *one, const char *other) {
    while (*one == *other && *one != '=' && *one != 0) {
        one++;
        other++;
    }
    int first = *one == '=' ? 0 : (unsigned char)*one;
    int second = *other == '=' ? 0 : (unsigned char)*other;
    return first - second;
}

static int by_key_and_place(const void *one, const void *other) {
    const char *first = *(char *const *)one, *second = *(char *const *)other;
    int order = by_key(first, second);
    return order ? order : (first > second) - (first < second);
}

/* Sorts by key; of those with one key the last one stays, as in the frame. */
static void sort(struct variables *variables) {
    size_t kept = 0;
    if (variables->count > 1)
        qsort(variables->list, variables->count, sizeof(char *), by_key_and_place);
    for (size_t at = 0; at < variables->count; at++) {
        if (kept > 0 && by_key(variables->list[kept - 1], variables->list[at]) == 0)
            kept--;
        variables->list[kept++] = variables->list[at];
    }
    variables->count = kept;
}

/* Puts two together; `over` wins. The list has room for NULL, and is NULL if there is no memory. */
static struct variables merged(struct variables below, struct variables over) {
    struct variables all = {calloc(below.count + over.count + 1, sizeof(char *)), 0};
    if (all.list == NULL)
        return all;
    size_t low = 0, high = 0;
    while (low < below.count || high < over.count) {
        int order = low == below.count   ? 1
                    : high == over.count ? -1
                                         : by_key(below.list[low], over.list[high]);
        all.list[all.count++] = order < 0 ? below.list[low] : over.list[high];
        low += order <= 0;
        high += order >= 0;
    }
    return all;
}

/* Reads so many strings into a list that ends in NULL. More than the kernel takes are passed over:
 * E2BIG. Of what is no string at all the reader knows. */
static char **read_list(struct reader *reader, size_t *count, int *error) {
    *count = read_count(reader);
    bool fit = *count <= STRINGS_MAX;
    char **list = fit ? calloc(*count + 1, sizeof(char *)) : NULL;
    if (list == NULL)
        *error = fit ? ENOMEM : E2BIG;
    for (size_t at = 0; at < *count && !reader->bad; at++) {
        char *text = (char *)read_string(reader);
        if (list != NULL)
            list[at] = text;
    }
    return list;
}

static struct variables read_variables(struct reader *reader, int *error) {
    struct variables found = {0};
    found.list = read_list(reader, &found.count, error);
    if (found.list == NULL || reader->bad)
        found.count = 0;
    for (size_t at = 0; at < found.count; at++) {
        if (strchr(found.list[at], '=') == NULL)
            reader->bad = true;
        else if (found.list[at][0] == '=')
            *error = EINVAL; /* a variable without a name */
    }
    if (!reader->bad)
        sort(&found);
    return found;
}

/* Puts the shim's own environment, which is the image's, below a recipe's. */
static void inherit(struct recipe *recipe) {
    struct variables image = {0}, own = recipe->env;
    size_t count = 0;
    while (environ != NULL && environ[count] != NULL)
        count++;
    image.list = calloc(count + 1, sizeof(char *));
    for (size_t at = 0; image.list != NULL && at < count; at++)
        if (environ[at][0] != '=' && strchr(environ[at], '=') != NULL)
            image.list[image.count++] = environ[at];
    sort(&image);
    recipe->env = merged(image, own);
    if (image.list == NULL || recipe->env.list == NULL)
        recipe->error = ENOMEM;
    free(image.list);
    free(own.list);
}

bool recipe_read(struct recipe *recipe, const struct frame *frame, const int descriptors[3]) {
    *recipe = (struct recipe){.known = true};
    memcpy(recipe->descriptors, descriptors, sizeof recipe->descriptors);
    recipe->text = malloc(frame->size + 1);
    if (recipe->text == NULL)
        return false;
    memcpy(recipe->text, frame->payload, frame->size);
    struct reader reader = reader_of((unsigned char *)recipe->text, frame->size);
    uint32_t flags = read_u32(&reader);
    recipe->umask = read_u32(&reader) & 0777;
    recipe->cwd = read_string(&reader);
    const char *user = read_string(&reader);
    size_t count = 0;
    recipe->argv = read_list(&reader, &count, &recipe->error);
    recipe->env = read_variables(&reader, &recipe->error);
    if (reader.bad || count == 0)
        return false;
    if (flags & RECIPE_INHERIT_ENV && recipe->error == 0)
        inherit(recipe);
    int unknown = user_find(user, &recipe->user);
    if (recipe->error == 0 && unknown) {
        recipe->error = unknown;
        recipe->step = STEP_USER;
    }
    return true;
}

void recipe_forget(struct recipe *recipe) {
    if (!recipe->known)
        return;
    for (int at = 0; at < 3; at++)
        close(recipe->descriptors[at]);
    free(recipe->env.list);
    free(recipe->argv);
    free(recipe->text);
    *recipe = (struct recipe){.known = false};
}

char **recipe_environment(const struct recipe *recipe, struct reader *reader, int *error) {
    *error = 0;
    struct variables own = read_variables(reader, error);
    struct variables all = {0};
    if (reader->bad) {
        *error = 0;
    } else if (*error == 0) {
        all = merged(recipe->env, own);
        *error = all.list == NULL ? ENOMEM : 0;
    }
    free(own.list);
    return all.list;
}
