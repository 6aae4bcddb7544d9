/* Reading coded nodes. FORMAT.md, "Codings"; the readers in coding/ do the same.
 *
 * The bytes are hostile. A node that is damaged, or of a kind that is not here, is not DONE, and the
 * readers in Python are asked again: they know every kind, and say what is wrong.
 */
#ifndef LISSOM_NODES_H
#define LISSOM_NODES_H

#define DEEPEST 6

enum { RAW = 0, CONSTANT = 1, RANS = 2, HUFFMAN = 3, PLANES = 5, RECORDS = 9, NIBBLES = 10,
       PREDICTED = 12, GROUPS = 13 };

/* n bytes of a node inside: in place where they are as they are, otherwise in `room`. */
static const uint8_t *inner(In *in, uint8_t *room, size_t n, const uint8_t *side, uint32_t depth) {
    if (depth < DEEPEST && in->left > n && in->p[0] == RAW) {
        take(in, 1);
        return take(in, n);
    }
    return node(in, room, n, side, depth) == DONE ? room : NULL;
}

static int constant(In *in, uint8_t *out, size_t n) {
    uint64_t width = varint(in);
    if (width == 0 || width > n || n % width) return DAMAGED;
    const uint8_t *one = take(in, (size_t)width);
    if (!one) return DAMAGED;
    memcpy(out, one, (size_t)width);
    for (size_t done = (size_t)width; done < n;) {
        size_t more = done < n - done ? done : n - done;
        memcpy(out + done, out, more);
        done += more;
    }
    return DONE;
}

static int huffman(In *in, uint8_t *out, size_t n) {
    size_t size;
    const uint8_t *packed = counted(in, 1, &size);
    if (!packed || n > 4096) return DAMAGED;
    Bits b = {packed, 8 * size, 0, 0};
    uint8_t sizes[SYMBOLS] = {0}, order[SYMBOLS];
    uint32_t many[32] = {0}, start[32], first[32];
    int run = exp_golomb(&b), symbol = run;
    while (run >= 0 && symbol < SYMBOLS) {
        uint32_t length = bits(&b, 5);
        if (b.over || length < 1 || length > 30) return DAMAGED;
        sizes[symbol] = (uint8_t)length;
        many[length]++;
        run = exp_golomb(&b);
        symbol += 1 + run;
    }
    if (run < 0 || symbol != SYMBOLS) return DAMAGED;
    uint64_t code = 0, listed = 0;
    for (uint32_t length = 1; length <= 30; length++) {
        code <<= 1;
        first[length] = (uint32_t)code;
        start[length] = (uint32_t)listed;
        code += many[length];
        if (code > (uint64_t)1 << length) return DAMAGED; /* ambiguous */
        for (int s = 0; s < SYMBOLS; s++)
            if (sizes[s] == length) order[listed++] = (uint8_t)s;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t value = 0, length = 0;
        do {
            if (length == 30) return DAMAGED;
            value = value << 1 | bit(&b);
            length++;
        } while (value < first[length] || value - first[length] >= many[length]);
        if (b.over) return DAMAGED;
        out[i] = order[start[length] + value - first[length]];
    }
    return b.size - b.at < 8 ? DONE : DAMAGED;
}

static int planes(In *in, uint8_t *out, size_t n, uint32_t depth) {
    int width = byte_of(in), rotate = byte_of(in);
    if ((width != 2 && width != 4 && width != 8) || rotate < 0 || rotate > 1 || n % (size_t)width)
        return DAMAGED;
    size_t each = n / (size_t)width;
    uint8_t *room = malloc(n + 1);
    const uint8_t *plane[8];
    int found = room ? DONE : DAMAGED;
    for (int k = 0; k < width && found == DONE; k++) {
        plane[k] = inner(in, room + (size_t)k * each, each, k == 1 ? plane[0] : NULL, depth);
        if (!plane[k]) found = DAMAGED;
    }
    if (found == DONE) join(plane, each, width, rotate, out);
    free(room);
    return found;
}

static int records(In *in, uint8_t *out, size_t n, uint32_t depth) {
    int count = byte_of(in);
    size_t sizes[8], whole = 0, at = 0;
    if (count < 1 || count > 8) return DAMAGED;
    for (int k = 0; k < count; k++) {
        uint64_t size = varint(in);
        if (size < 1 || size > n) return DAMAGED;
        sizes[k] = (size_t)size;
        whole += sizes[k];
    }
    if (whole > n || n % whole) return DAMAGED;
    uint8_t *room = malloc(n);
    int found = room ? DONE : DAMAGED;
    for (int k = 0; k < count && found == DONE; k++) {
        size_t size = sizes[k], blocks = n / whole;
        const uint8_t *field = inner(in, room, blocks * size, NULL, depth);
        if (!field) found = DAMAGED;
        for (size_t i = 0; found == DONE && i < blocks; i++)
            memcpy(out + i * whole + at, field + i * size, size);
        at += size;
    }
    free(room);
    return found;
}

static int nibbles(In *in, uint8_t *out, size_t n, uint32_t depth) {
    if (n > 1 << 15) return DAMAGED;
    uint8_t *halves = malloc(2 * n + 1);
    int found = halves ? node(in, halves, 2 * n, NULL, depth) : DAMAGED;
    for (size_t i = 0; found == DONE && i < n; i++)
        out[i] = (uint8_t)((halves[2 * i] & 15) | halves[2 * i + 1] << 4);
    free(halves);
    return found;
}

/* Kernels whose taps are predicted together, so that there are vectors to be made of them. */
#define KERNELS 64

/* What is left of `count` kernels, added to what their earlier taps predict. */
static inline __attribute__((always_inline)) void
add_prediction(uint8_t *out, size_t count, size_t taps, const int8_t *weights, uint8_t centre) {
    int16_t tap_of[32][KERNELS];
    int32_t sum[KERNELS];
    for (size_t tap = 0; tap < taps; tap++) {
        for (size_t k = 0; k < KERNELS; k++) sum[k] = 32 + (1 << 20);
        for (size_t before = 0; before < tap; before++) {
            int32_t weight = *weights++;
            for (size_t k = 0; k < KERNELS; k++) sum[k] += weight * tap_of[before][k];
        }
        for (size_t k = 0; k < count; k++) {
            /* rounded down, without shifting what is negative */
            uint8_t value = (uint8_t)(out[k * taps + tap] + (uint32_t)(sum[k] >> 6));
            tap_of[tap][k] = (int8_t)value;
            out[k * taps + tap] = value ^ centre;
        }
        for (size_t k = count; k < KERNELS; k++) tap_of[tap][k] = 0;
    }
}

#if HAS_X86
TARGET512 static void add_prediction_avx512(uint8_t *out, size_t count, size_t taps,
                                            const int8_t *weights, uint8_t centre) {
    add_prediction(out, count, taps, weights, centre);
}
#endif

static int predicted(In *in, uint8_t *out, size_t n, uint32_t depth) {
    int taps = byte_of(in), centre = byte_of(in);
    if (taps < 2 || taps > 32 || centre < 0 || n % (size_t)taps) return DAMAGED;
    const int8_t *weights = (const int8_t *)take(in, (size_t)(taps * (taps - 1) / 2));
    if (!weights || node(in, out, n, NULL, depth) != DONE) return DAMAGED;
    size_t kernels = n / (size_t)taps;
    for (size_t start = 0; start < kernels; start += KERNELS) {
        size_t count = kernels - start < KERNELS ? kernels - start : KERNELS;
        uint8_t *first = out + start * (size_t)taps;
#if HAS_X86
        if (has_avx512()) {
            add_prediction_avx512(first, count, (size_t)taps, weights, (uint8_t)centre);
            continue;
        }
#endif
        add_prediction(first, count, (size_t)taps, weights, (uint8_t)centre);
    }
    return DONE;
}

/* The values of lists of `more` steps and one, and each element by its index, which may be wrong. `width` is a
 * constant where this is inlined. */
static inline __attribute__((always_inline)) int by_index(const uint8_t *more, const uint8_t *first, const uint8_t *steps,
                    const uint8_t *index, size_t groups, size_t size, size_t width, uint8_t *out) {
    uint32_t all = 1;
    for (size_t g = 0; g < groups; g++, first += width, index += size) {
        uint32_t list[SYMBOLS], value = 0, last = more[g];
        memcpy(&value, first, width);
        list[0] = value;
        for (uint32_t k = 1; k <= last; k++, steps += width) {
            uint32_t by = 0;
            memcpy(&by, steps, width);
            list[k] = value += by;
        }
        for (size_t i = 0; i < size; i++) {
            uint32_t at = index[i] <= last ? index[i] : 0;
            all &= index[i] <= last;
            memcpy(out, list + at, width);
            out += width;
        }
    }
    return all ? DONE : DAMAGED;
}

static int grouped(In *in, uint8_t *out, size_t n, uint32_t depth) {
    int width = byte_of(in);
    uint64_t size = varint(in);
    if ((width != 1 && width != 2 && width != 4) || size < 2 || size > SYMBOLS) return DAMAGED;
    if (n == 0 || n % ((size_t)width * (size_t)size)) return DAMAGED;
    size_t wide = (size_t)width, elements = n / wide, groups = elements / (size_t)size, count = 0;
    uint8_t *room = malloc(groups * (2 + wide) + elements + 1), *steps = NULL;
    uint8_t *more = room, *least = room + groups, *first = least + groups;
    int found = room ? node(in, more, groups, NULL, depth) : DAMAGED;
    for (size_t g = 0; found == DONE && g < groups; g++) {
        if (more[g] >= size) found = DAMAGED;
        count += more[g];
    }
    if (found == DONE) found = node(in, first, groups * wide, NULL, depth);
    if (found == DONE && width == 1) found = node(in, least, groups, NULL, depth);
    if (found == DONE) {
        steps = malloc(count * (wide + 1) + 1);
        found = steps ? DONE : DAMAGED;
    }
    if (found == DONE) {
        uint8_t *side = steps + count * wide, *to = side;
        for (size_t g = 0; width == 1 && g < groups; to += more[g++]) memset(to, least[g], more[g]);
        found = node(in, steps, count * wide, width == 1 ? side : NULL, depth);
    }
    uint8_t *index = first + groups * wide;
    if (found == DONE) found = node(in, index, elements, NULL, depth);
#define BY_INDEX(w) by_index(more, first, steps, index, groups, (size_t)size, w, out)
    if (found == DONE)
        found = width == 1 ? BY_INDEX(1) : width == 2 ? BY_INDEX(2) : BY_INDEX(4);
#undef BY_INDEX
    free(room);
    free(steps);
    return found;
}

static int node(In *in, uint8_t *out, size_t n, const uint8_t *side, uint32_t depth) {
    if (depth >= DEEPEST) return DAMAGED;
    int tag = byte_of(in);
    const uint8_t *bytes;
    switch (tag) {
    case RAW:
        if (!(bytes = take(in, n))) return DAMAGED;
        memcpy(out, bytes, n);
        return DONE;
    case CONSTANT: return constant(in, out, n);
    case RANS: return rans(in, out, n, side, depth + 1);
    case HUFFMAN: return huffman(in, out, n);
    case PLANES: return planes(in, out, n, depth + 1);
    case RECORDS: return records(in, out, n, depth + 1);
    case NIBBLES: return nibbles(in, out, n, depth + 1);
    case PREDICTED: return predicted(in, out, n, depth + 1);
    case GROUPS: return grouped(in, out, n, depth + 1);
    default: return DAMAGED;
    }
}

#endif
