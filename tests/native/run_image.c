/* Runs calls of the core in an image of memory, for processors that an emulator has: run_image IMAGE CALLS.

   CALLS: the address that the image goes to, then a line for each call: its name, how many arguments, the arguments.
   What each call returns goes to stdout, one a line, and the image is written back. See native_program.py. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define MOST_ARGUMENTS 9

/* All arguments are numbers and addresses; on 64-bit processors each takes one register or one place on the stack. */
typedef int64_t (*Function)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);

#define FUNCTIONS(of)                                                                                             \
    of(vq_pack) of(vq_plan) of(vq_run) of(vq_from_pixels) of(vq_to_pixels) of(vq_tokens) of(vq_distances)         \
        of(vq_add_codes)
#define DECLARED(name) int64_t name();
#define LISTED(name) {#name, (Function)name},

FUNCTIONS(DECLARED)
static const struct {
    const char *name;
    Function function;
} functions[] = {FUNCTIONS(LISTED)};

static Function found(const char *name) {
    for (size_t number = 0; number < sizeof functions / sizeof *functions; number++)
        if (!strcmp(functions[number].name, name)) return functions[number].function;
    return 0;
}

int main(int count, char **arguments) {
    FILE *image = count == 3 ? fopen(arguments[1], "r+b") : 0, *calls = count == 3 ? fopen(arguments[2], "r") : 0;
    long long base;
    char name[64];
    int given;
    if (!image || !calls || fscanf(calls, "%lld", &base) != 1 || fseek(image, 0, SEEK_END)) return 2;
    const size_t length = (size_t)ftell(image);
    void *memory = mmap((void *)(intptr_t)base, length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (memory == MAP_FAILED) return 3;
    rewind(image);
    if (fread(memory, 1, length, image) != length) return 4;
    while (fscanf(calls, "%63s %d", name, &given) == 2) {
        long long a[MOST_ARGUMENTS] = {0};
        const Function function = found(name);
        if (!function || given > MOST_ARGUMENTS) return 5;
        for (int number = 0; number < given; number++)
            if (fscanf(calls, "%lld", a + number) != 1) return 6;
        printf("%lld\n", (long long)function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]));
    }
    rewind(image);
    return fwrite(memory, 1, length, image) == length && !fclose(image) ? 0 : 7;
}
