/* The inner loops of the archive, and what Python calls of them.
 *
 * A plain shared library without Python's headers: ctypes loads it and releases the interpreter's
 * lock around each call. What is decoded is hostile input: whatever it holds, no function reads or
 * writes outside the lengths it is given. FORMAT.md specifies the bytes; the modules in coding/,
 * rans.py and frequencies.py do the same in NumPy.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define ABI 4

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the kernel is for little-endian machines; lissom does without it"
#endif

enum { DONE = 0, DAMAGED = 1 };

#include "lanes.h"
#include "tables.h"
#include "grids.h"

/* Planes of n bytes, the highest byte's first, to little-endian elements of 2, 4 or 8 bytes, rotated
 * right by one bit where `rotate` is 1. */
static inline __attribute__((always_inline)) void
joined(const uint8_t *const *plane, size_t n, int width, int rotate, uint8_t *out) {
    const uint8_t *a = plane[0], *b = plane[1];
    const uint8_t *c = width > 2 ? plane[2] : a, *d = width > 2 ? plane[3] : a;
    uint32_t turn = (uint32_t)rotate;
    for (size_t i = 0; i < n && width == 2; i++) {
        uint32_t v = (uint32_t)a[i] << 8 | b[i];
        uint16_t r = (uint16_t)(v >> turn | (v & turn) << 15);
        memcpy(out + 2 * i, &r, 2);
    }
    for (size_t i = 0; i < n && width == 4; i++) {
        uint32_t v = (uint32_t)a[i] << 24 | (uint32_t)b[i] << 16 | (uint32_t)c[i] << 8 | d[i];
        v = v >> turn | (v & turn) << 31;
        memcpy(out + 4 * i, &v, 4);
    }
    for (size_t i = 0; i < n && width == 8; i++) {
        uint64_t v = 0;
        for (int k = 0; k < 8; k++) v = v << 8 | plane[k][i];
        if (rotate) v = v >> 1 | v << 63;
        memcpy(out + 8 * i, &v, 8);
    }
}

#if HAS_X86
TARGET512 static void joined_avx512(const uint8_t *const *plane, size_t n, int width, int rotate,
                                    uint8_t *out) {
    joined(plane, n, width, rotate, out);
}
#endif

static void join(const uint8_t *const *plane, size_t n, int width, int rotate, uint8_t *out) {
#if HAS_X86
    if (has_avx512()) {
        joined_avx512(plane, n, width, rotate, out);
        return;
    }
#endif
    joined(plane, n, width, rotate, out);
}

#include "input.h"
#include "symbols.h"
#include "nodes.h"

EXPORT int lissom_abi(void) { return ABI; }

/* Before all else: the logarithms of 1 + i / 4096, 4,097 of them. */
EXPORT void lissom_prepare(const uint32_t *logarithms) {
    memcpy(log_steps, logarithms, sizeof log_steps);
    prepare_products();
}

/* Decode the node at the front of `in` to n bytes; how many it took, or 0 where it is damaged, or
 * of a kind that is not here. `side` may be NULL, or has n bytes. */
EXPORT size_t lissom_decode(const uint8_t *in, size_t size, uint8_t *out, size_t n,
                            const uint8_t *side, uint32_t depth) {
    In at = {in, size};
    return node(&at, out, n, side, depth) == DONE ? size - at.left : 0;
}

/* `count` of them; how many bytes each took, or 0, in `taken`. */
EXPORT void lissom_decode_all(size_t count, const uint8_t *const *in, const size_t *sizes,
                              uint8_t *const *out, const size_t *n, size_t *taken) {
    for (size_t i = 0; i < count; i++)
        taken[i] = lissom_decode(in[i], sizes[i], out[i], n[i], NULL, 0);
}

/* How often each symbol comes in each context: counts[contexts * 256], added to. */
EXPORT int lissom_count(const uint8_t *in, size_t n, const uint8_t *context, uint32_t contexts,
                        uint32_t *counts) {
    if (!context) {
        uint32_t part[3][256];
        size_t i = 0;
        memset(part, 0, sizeof part);
        for (; i + 4 <= n; i += 4) { /* four tables: equal neighbours would wait for each other */
            counts[in[i]]++;
            part[0][in[i + 1]]++;
            part[1][in[i + 2]]++;
            part[2][in[i + 3]]++;
        }
        for (; i < n; i++) counts[in[i]]++;
        for (int s = 0; s < 256; s++) counts[s] += part[0][s] + part[1][s] + part[2][s];
        return DONE;
    }
    for (size_t i = 0; i < n; i++) {
        if (context[i] >= contexts) return DAMAGED;
        counts[(size_t)context[i] << 8 | in[i]]++;
    }
    return DONE;
}

EXPORT int lissom_count_by_grid(const uint8_t *in, size_t n, size_t columns,
                                const uint8_t *rows_class, const uint8_t *columns_class,
                                uint32_t contexts, uint32_t *counts) {
    if (columns == 0) return DAMAGED;
    return count_by_grid(in, n, columns, rows_class, columns_class, contexts, counts);
}

/* The classes of rows and columns that are the best contexts, and the bits with them; -1 where there
 * is no memory. */
EXPORT int64_t lissom_best_grid(const uint8_t *in, size_t rows, size_t columns, size_t every,
                                size_t fewer, uint8_t *rows_class, uint8_t *columns_class) {
    if (rows == 0 || columns == 0 || every == 0 || fewer == 0) return -1;
    return best_grid_of(in, rows, columns, every, fewer, rows_class, columns_class);
}

/* Groups of at most 256 elements of 1, 2 or 4 bytes that have at most 16 values each; the number of
 * steps in their lists, or (size_t)-1 where one has more than `most` values. */
EXPORT size_t lissom_groups(const uint8_t *in, size_t groups, size_t size, size_t width,
                            uint32_t most, uint8_t *more, uint8_t *first, uint8_t *steps,
                            uint8_t *index) {
    if (size > SYMBOLS || most > 16 || (width != 1 && width != 2 && width != 4)) return (size_t)-1;
    return groups_of(in, groups, size, width, most, more, first, steps, index);
}

/* `contexts` rows of counts, at most 256, to the tables that they share. */
EXPORT uint32_t lissom_merge(uint32_t *counts, uint32_t contexts, int64_t table_bits,
                             uint8_t *mapping) {
    return contexts > SYMBOLS ? 0 : merge_of(counts, contexts, table_bits, mapping);
}

/* The zeroth-order entropy of each of `rows` rows of 256 counts, all of them together, in bits with
 * 24 bits of fraction. */
EXPORT int64_t lissom_entropy(const uint32_t *counts, size_t rows) {
    int64_t bits = 0;
    for (size_t i = 0; i < rows; i++) bits += entropy_of(counts + 256 * i);
    return bits;
}

/* The best tables for `count` rows of counts, and the precision that suits them: see fit_numpy in
 * frequencies.py. `packed` (zeros) becomes the tables, `taken` bytes of it, and `freqs` [count, 256]
 * what they mean. Returns the bits of tables and symbols, with 24 bits of fraction; -1 where a row
 * has no symbols, or there is no room. */
EXPORT int64_t lissom_fit(const uint32_t *counts, uint32_t count, uint8_t *packed, size_t room,
                          uint32_t *freqs, size_t *taken, uint32_t *precision) {
    Sink sink = {packed, 8 * room, 0};
    uint32_t *other = malloc((size_t)count * SYMBOLS * sizeof *other);
    int64_t own = 0, low = 0, high = 0;
    for (uint32_t k = 0; other && k < count && low >= 0; k++, counts += SYMBOLS) {
        uint8_t levels[SYMBOLS], fineness = 0;
        own += (int64_t)best_table(counts, levels, &fineness) << FRACTION;
        write_table(&sink, levels, fineness);
        int64_t a = bits_under(counts, levels, fineness, LOW_PRECISION, freqs + SYMBOLS * k);
        int64_t b = bits_under(counts, levels, fineness, HIGH_PRECISION, other + SYMBOLS * k);
        low = a < 0 || b < 0 ? -1 : low + a;
        high += b;
    }
    if (!other || low < 0 || sink.at > sink.room) {
        free(other);
        return -1;
    }
    low += own, high += own;
    int precise = high + high / WORTH_PRECISION < low;
    if (precise) memcpy(freqs, other, (size_t)count * SYMBOLS * sizeof *other);
    free(other);
    *taken = (sink.at + 7) / 8;
    *precision = precise ? HIGH_PRECISION : LOW_PRECISION;
    return precise ? high : low;
}

/* Encode n symbols backwards. The words end at `words + 2 * n` and start at the returned offset;
 * `freqs` is [tables, 256]; `states` (lanes of them) come back as the decoder's first ones. (size_t)-1
 * where a symbol has no frequency, or a context no table. */
EXPORT size_t lissom_rans_encode(const uint8_t *in, size_t n, const uint8_t *context,
                                 const uint32_t *freqs, uint32_t precision, uint32_t tables,
                                 uint32_t *states, size_t lanes, uint8_t *words) {
    uint32_t all = 1;
    if (n == 0 || lanes == 0 || precision < 1 || precision > 14 || tables < 1) return (size_t)-1;
    for (size_t i = 0; context && i < n; i++) all &= context[i] < tables;
    Coder *coders = all ? malloc((size_t)tables * SYMBOLS * sizeof *coders) : NULL;
    if (!coders) return (size_t)-1;
    for (uint32_t i = 0, start = 0; i < tables * SYMBOLS; start += freqs[i++]) {
        start = i % SYMBOLS ? start : 0;
        coders[i] = coder_of(freqs[i], start, precision);
    }
    size_t start = encode_lanes(in, n, context, coders, states, lanes, words, &all);
    free(coders);
    return all ? start : (size_t)-1;
}

/* Each byte replaced by what `table` (256 bytes) has for it. */
EXPORT void lissom_map(const uint8_t *in, size_t n, const uint8_t *table, uint8_t *out) {
    for (size_t i = 0; i < n; i++) out[i] = table[in[i]];
}

/* Little-endian elements of 2 or 4 bytes, rotated left by one bit (the sign goes last) where
 * `rotate` is 1, to planes of n bytes, the highest byte's first. */
EXPORT void lissom_split(const uint8_t *in, size_t n, uint32_t width, uint32_t rotate,
                         uint8_t *out) {
    for (size_t i = 0; i < n && width == 2; i++) {
        uint16_t v;
        memcpy(&v, in + 2 * i, 2);
        if (rotate) v = (uint16_t)(v << 1 | v >> 15);
        out[i] = (uint8_t)(v >> 8);
        out[n + i] = (uint8_t)v;
    }
    for (size_t i = 0; i < n && width == 4; i++) {
        uint32_t v;
        memcpy(&v, in + 4 * i, 4);
        if (rotate) v = v << 1 | v >> 31;
        out[i] = (uint8_t)(v >> 24);
        out[n + i] = (uint8_t)(v >> 16);
        out[2 * n + i] = (uint8_t)(v >> 8);
        out[3 * n + i] = (uint8_t)v;
    }
}
