/* Frequency tables: from counts to levels, their bits, and the frequencies they mean. FORMAT.md, "A
 * table". frequencies.py does the same in NumPy, to the last bit: all of it is integers, logarithms
 * in 24 bits of fraction.
 */
#ifndef LISSOM_TABLES_H
#define LISSOM_TABLES_H

#define SYMBOLS 256
#define OCTAVES 15
#define LONGEST_UNARY 300
#define MOST_TABLES 24
#define FRACTION 24
#define LOG_STEPS 4096

static const uint64_t ROOTS[8] = {65536, 71468, 77936, 84990, 92682, 101070, 110218, 120194};
static uint32_t log_steps[LOG_STEPS + 1]; /* log2(1 + i / 4096); set once, by lissom_prepare */

/* The logarithm of base 2 of a number above 0. */
static int64_t log2_of(uint64_t x) {
    int e = 63 - __builtin_clzll(x);
    uint32_t rest = (uint32_t)(e >= 32 ? x >> (e - 32) : x << (32 - e));
    uint32_t i = rest >> 20, part = rest & 0xfffff, from = log_steps[i];
    uint64_t more = ((uint64_t)(log_steps[i + 1] - from) * part + (1 << 19)) >> 20;
    return ((int64_t)e << FRACTION) + from + (int64_t)more;
}

/* A count times its logarithm, of counts so small that there are many of them. */
enum { SMALL_COUNTS = 2048 };
static int64_t small_products[SMALL_COUNTS];

static void prepare_products(void) {
    for (uint32_t c = 1; c < SMALL_COUNTS; c++) small_products[c] = c * log2_of(c);
}

/* The zeroth-order entropy of counted symbols, in bits. */
static int64_t entropy_of(const uint32_t *counts) {
    uint64_t total = 0;
    int64_t products = 0;
    for (int s = 0; s < SYMBOLS; s++) {
        uint32_t c = counts[s];
        total += c;
        products += c < SMALL_COUNTS ? small_products[c] : (int64_t)c * log2_of(c);
    }
    return total ? (int64_t)total * log2_of(total) - products : 0;
}

static uint64_t weight_of(uint32_t level, uint32_t fineness) {
    uint32_t eighths = (level - 1) << (3 - fineness);
    return ROOTS[eighths & 7] << (eighths >> 3);
}

/* The frequencies of a table's levels, which sum to 2^precision. */
static int frequencies_of(const uint8_t *levels, uint32_t fineness, uint32_t precision,
                          uint32_t *out) {
    uint64_t weights[SYMBOLS], total = 0;
    for (int s = 0; s < SYMBOLS; s++) {
        weights[s] = levels[s] ? weight_of(levels[s], fineness) : 0;
        total += weights[s];
    }
    if (total == 0) return DAMAGED;
    int64_t rest = (int64_t)1 << precision;
    for (int s = 0; s < SYMBOLS; s++) {
        uint64_t share = ((weights[s] << precision) + total / 2) / total;
        out[s] = levels[s] ? (share ? (uint32_t)share : 1) : 0;
        rest -= out[s];
    }
    do { /* the most frequent loses one at a time, or gains all that is missing */
        int most = 0;
        for (int s = 1; s < SYMBOLS; s++)
            if (out[s] > out[most]) most = s;
        if (rest >= 0) {
            out[most] += (uint32_t)rest;
            break;
        }
        out[most]--;
    } while (++rest < 0);
    return DONE;
}

/* What look-ups are made for, and how much fewer bits more of them must bring: see frequencies.py. */
enum { LOW_PRECISION = 12, HIGH_PRECISION = 14, WORTH_PRECISION = 500 };

/* The frequencies of a table, and the bits of symbols that come as often as `counts` says, with 24
 * bits of fraction; -1 where one of them has none. */
static int64_t bits_under(const uint32_t *counts, const uint8_t *levels, uint32_t fineness,
                          uint32_t precision, uint32_t *freqs) {
    int64_t bits = 0;
    if (frequencies_of(levels, fineness, precision, freqs) != DONE) return -1;
    for (int s = 0; s < SYMBOLS; s++) {
        if (!counts[s]) continue;
        if (!freqs[s]) return -1;
        bits += (int64_t)counts[s] * (((int64_t)precision << FRACTION) - log2_of(freqs[s]));
    }
    return bits;
}

/* Bits, the most significant first, that end. */
typedef struct {
    const uint8_t *data;
    size_t size; /* in bits */
    size_t at;
    int over;
} Bits;

static uint32_t bit(Bits *b) {
    if (b->at >= b->size) {
        b->over = 1;
        return 0;
    }
    uint32_t value = b->data[b->at >> 3] >> (7 - (b->at & 7)) & 1;
    b->at++;
    return value;
}

static uint32_t bits(Bits *b, uint32_t width) {
    uint32_t value = 0;
    while (width--) value = value << 1 | bit(b);
    return value;
}

/* A number below 511, or -1. */
static int exp_golomb(Bits *b) {
    uint32_t zeros = 0;
    while (!b->over && zeros < 9 && !bit(b)) zeros++;
    if (b->over || zeros > 8) return -1;
    uint32_t value = (1u << zeros | bits(b, zeros)) - 1;
    return b->over ? -1 : (int)value;
}

/* The next table: its levels and how fine they are. */
static int read_table(Bits *b, uint8_t *levels, uint32_t *fineness) {
    *fineness = bits(b, 2);
    uint32_t low = bits(b, 3);
    int at = 0, comes = 0, level = 1;
    while (at < SYMBOLS) {
        int run = exp_golomb(b);
        if (run < 0 || run > SYMBOLS - at || (run == 0 && at > 0)) return DAMAGED;
        memset(levels + at, comes, (size_t)run);
        at += run;
        comes = !comes;
    }
    for (int s = 0; s < SYMBOLS; s++) {
        if (!levels[s]) continue;
        int ones = 0;
        while (!b->over && ones < LONGEST_UNARY && bit(b)) ones++;
        if (b->over || ones >= LONGEST_UNARY) return DAMAGED;
        int move = (int)((uint32_t)ones << low | bits(b, low));
        level += move & 1 ? -((move + 1) >> 1) : move >> 1;
        if (b->over || level < 1 || level > (OCTAVES << *fineness) + 1) return DAMAGED;
        levels[s] = (uint8_t)level;
    }
    return DONE;
}

/* Bits written; where the room ends they are counted on, and no longer written. */
typedef struct {
    uint8_t *data;
    size_t room; /* in bits */
    size_t at;
} Sink;

static void put(Sink *b, uint32_t value, uint32_t width) {
    if (b->at + width <= b->room)
        for (uint32_t i = 0; i < width; i++) {
            size_t at = b->at + i;
            b->data[at >> 3] |= (uint8_t)((value >> (width - 1 - i) & 1) << (7 - (at & 7)));
        }
    b->at += width;
}

static void put_exp_golomb(Sink *b, uint32_t value) {
    uint32_t width = 0;
    while ((value + 1) >> (width + 1)) width++;
    put(b, 0, width);
    put(b, value + 1, width + 1);
}

static uint32_t zigzag(int step) {
    return step < 0 ? (uint32_t)(-2 * step - 1) : (uint32_t)(2 * step);
}

static uint32_t best_rice(const uint8_t *levels) {
    uint32_t best = 0, fewest = UINT32_MAX;
    for (uint32_t low = 0; low < 6; low++) {
        uint32_t taken = 0;
        int level = 1;
        for (int s = 0; s < SYMBOLS; s++) {
            if (!levels[s]) continue;
            taken += (zigzag(levels[s] - level) >> low) + 1 + low;
            level = levels[s];
        }
        if (taken < fewest) fewest = taken, best = low;
    }
    return best;
}

static void write_table(Sink *b, const uint8_t *levels, uint32_t fineness) {
    uint32_t low = best_rice(levels);
    put(b, fineness, 2);
    put(b, low, 3);
    for (int at = 0, comes = 0; at < SYMBOLS; comes = !comes) {
        int start = at;
        while (at < SYMBOLS && (levels[at] > 0) == comes) at++;
        put_exp_golomb(b, (uint32_t)(at - start));
    }
    int level = 1;
    for (int s = 0; s < SYMBOLS; s++) {
        if (!levels[s]) continue;
        uint32_t value = zigzag(levels[s] - level);
        for (uint32_t ones = value >> low; ones; ones--) put(b, 1, 1);
        put(b, 0, 1);
        put(b, value & ((1u << low) - 1), low);
        level = levels[s];
    }
}

/* Levels of counts that are averaged over `width` neighbours to each side. */
static void levels_of(const uint32_t *counts, int width, uint32_t fineness, uint8_t *levels) {
    uint64_t smooth[SYMBOLS], most = 0;
    for (int s = 0; s < SYMBOLS; s++) {
        uint64_t c = counts[s], square = (uint64_t)(width + 1) * (uint64_t)(width + 1), around = 0;
        for (int j = -width; j <= width; j++)
            around += (uint64_t)(width + 1 - (j < 0 ? -j : j)) * counts[(s + j) & 255];
        uint64_t mixed = c << 16;
        if (width)
            mixed = ((c * c * square + 2 * (uint64_t)width * around) << 16) /
                    ((c + 2 * (uint64_t)width) * square);
        int comes = c > 0 || (width && around * 10 > 3 * square);
        smooth[s] = comes ? (mixed > 65 ? mixed : 65) : 0;
        most = smooth[s] > most ? smooth[s] : most;
    }
    int64_t top = most ? log2_of(most) : 0, half = 1 << (FRACTION - 1);
    for (int s = 0; s < SYMBOLS; s++) {
        if (!smooth[s]) {
            levels[s] = 0;
            continue;
        }
        int64_t octaves = log2_of(smooth[s]) - top + ((int64_t)OCTAVES << FRACTION);
        octaves = octaves > 0 ? octaves * (1 << fineness) + half : 0;
        levels[s] = (uint8_t)(1 + (octaves >> FRACTION));
    }
}

/* The bits of a table and of the counted symbols under it; those of the table alone in `own`. */
static int64_t table_cost(const uint32_t *counts, const uint8_t *levels, uint32_t fineness,
                          uint32_t *own) {
    Sink none = {NULL, 0, 0};
    uint64_t total = 0;
    int64_t cost = 0;
    write_table(&none, levels, fineness);
    *own = (uint32_t)none.at;
    for (int s = 0; s < SYMBOLS; s++) total += levels[s] ? weight_of(levels[s], fineness) : 0;
    if (total == 0) return INT64_MAX;
    int64_t whole = log2_of(total);
    for (int s = 0; s < SYMBOLS; s++) {
        if (!counts[s]) continue;
        cost += (int64_t)counts[s] * (whole - log2_of(weight_of(levels[s], fineness)));
    }
    return cost + ((int64_t)none.at << FRACTION);
}

/* The table under which its own bits and those of the symbols are fewest; its own bits. */
static uint32_t best_table(const uint32_t *counts, uint8_t *levels, uint8_t *fineness) {
    static const uint8_t few[4][2] = {{0, 1}, {2, 1}, {8, 0}, {8, 2}};
    uint64_t total = 0;
    for (int s = 0; s < SYMBOLS; s++) total += counts[s];
    uint32_t tries = total < 20000 ? 4 : 1, best_own = 0;
    int64_t best = INT64_MAX;
    for (uint32_t i = 0; i < tries; i++) {
        uint8_t tried[SYMBOLS];
        uint32_t own, fine = tries > 1 ? few[i][1] : 2 + (total > 200000);
        levels_of(counts, tries > 1 ? few[i][0] : 0, fine, tried);
        int64_t cost = table_cost(counts, tried, fine, &own);
        if (cost < best) {
            best = cost, best_own = own;
            *fineness = (uint8_t)fine;
            memcpy(levels, tried, SYMBOLS);
        }
    }
    return best_own;
}

#endif
