/* What contexts are chosen by: counts by row and column, and which neighbours share a table.
 * coding/contexts.py does the same in NumPy.
 */
#ifndef LISSOM_GRIDS_H
#define LISSOM_GRIDS_H

#define MOST_CONTEXTS 21

/* How often each symbol comes in each context: counts[contexts * 256], added to. */
static int count_by_grid(const uint8_t *in, size_t n, size_t columns, const uint8_t *rows_class,
                         const uint8_t *columns_class, uint32_t contexts, uint32_t *counts) {
    for (size_t start = 0, r = 0; start < n; start += columns, r++) {
        size_t length = columns < n - start ? columns : n - start;
        for (size_t c = 0; c < length; c++) {
            uint32_t context = (uint32_t)rows_class[r] + columns_class[c];
            if (context >= contexts) return DAMAGED;
            counts[(size_t)context << 8 | in[start + c]]++;
        }
    }
    return DONE;
}

/* Which table each of n contexts uses, as `merged` in coding/contexts.py: rows of `counts` that
 * share one are added up in the first of them. Returns how many tables there are. */
static uint32_t merge_of(uint32_t *counts, uint32_t n, int64_t table_bits, uint8_t *mapping) {
    uint16_t first[SYMBOLS], last[SYMBOLS];
    int64_t own[SYMBOLS], joint[SYMBOLS];
    uint32_t sum[SYMBOLS], groups = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t any = 0;
        for (int s = 0; s < SYMBOLS; s++) any |= counts[(size_t)i << 8 | (size_t)s];
        mapping[i] = 0;
        if (!any) continue;
        first[groups] = last[groups] = (uint16_t)i;
        own[groups++] = entropy_of(counts + ((size_t)i << 8));
    }
#define JOINT(g)                                                                                 \
    do {                                                                                         \
        const uint32_t *a = counts + ((size_t)first[g] << 8);                                    \
        const uint32_t *b = counts + ((size_t)first[(g) + 1] << 8);                              \
        for (int s = 0; s < SYMBOLS; s++) sum[s] = a[s] + b[s];                                  \
        joint[g] = entropy_of(sum);                                                              \
    } while (0)
    for (uint32_t g = 0; g + 1 < groups; g++) JOINT(g);
    while (groups > 1) {
        uint32_t at = 0;
        int64_t least = INT64_MAX;
        for (uint32_t g = 0; g + 1 < groups; g++) {
            int64_t loss = joint[g] - own[g] - own[g + 1];
            if (loss < least) least = loss, at = g;
        }
        if (least > table_bits && groups <= MOST_TABLES) break;
        uint32_t *into = counts + ((size_t)first[at] << 8);
        const uint32_t *from = counts + ((size_t)first[at + 1] << 8);
        for (int s = 0; s < SYMBOLS; s++) into[s] += from[s];
        own[at] = joint[at];
        last[at] = last[at + 1];
        groups--;
        for (uint32_t g = at + 1; g < groups; g++) {
            first[g] = first[g + 1], last[g] = last[g + 1];
            own[g] = own[g + 1], joint[g - 1] = joint[g];
        }
        if (at + 1 < groups) JOINT(at);
        if (at > 0) JOINT(at - 1);
    }
#undef JOINT
    for (uint32_t g = 0; g < groups; g++) {
        for (uint32_t i = first[g]; i <= last[g]; i++) mapping[i] = (uint8_t)g;
        if (g == first[g]) continue;
        memcpy(counts + ((size_t)g << 8), counts + ((size_t)first[g] << 8), 4 * SYMBOLS);
    }
    return groups;
}

/* What tells the scale of a row or a column: see SCALES in coding/contexts.py. */
enum { SCALES = 4, LOGARITHM = 2, REACH = 5, TABLE_BITS = 500, LEAST_MEAN = 655 };

static uint8_t scale_of(int scale, int s) {
    int high = (s >> 4) - 8, low = (s & 15) - 8;
    switch (scale) {
    case 0: return (uint8_t)(s < 128 ? s : 256 - s);
    case 1: return (uint8_t)(s < 128 ? 128 - s : s - 128);
    case 2: return (uint8_t)s;
    default: return (uint8_t)((high < 0 ? -high : high) + (low < 0 ? -low : low));
    }
}

/* Whole rows of a matrix, one in `every`. */
typedef struct {
    const uint8_t *in;
    size_t rows, columns, every;
} Matrix;

/* The middle one of n numbers, which it puts in another order (Hoare 1961, algorithm 65). */
static int64_t middle_of(int64_t *numbers, size_t n) {
    size_t low = 0, high = n - 1, middle = n / 2;
    while (low < high) {
        int64_t pivot = numbers[low + (high - low) / 2];
        size_t i = low - 1, j = high + 1;
        for (;;) {
            do i++; while (numbers[i] < pivot);
            do j--; while (numbers[j] > pivot);
            if (i >= j) break;
            int64_t other = numbers[i];
            numbers[i] = numbers[j], numbers[j] = other;
        }
        if (middle <= j) high = j; else low = j + 1;
    }
    return numbers[middle];
}

/* The scales of rows or of columns, sums over `each` values, as logarithms around the middle one.
 * `room` is for as many. */
static void octaves_of(int64_t *sums, size_t n, size_t each, int scale, int64_t *room) {
    for (size_t i = 0; i < n; i++) {
        if (scale == LOGARITHM) {
            sums[i] = (int64_t)(((uint64_t)sums[i] << FRACTION) / each);
            continue;
        }
        uint64_t mean = ((uint64_t)sums[i] << 16) / each;
        sums[i] = log2_of(mean > LEAST_MEAN ? mean : LEAST_MEAN);
    }
    memcpy(room, sums, n * sizeof *sums);
    int64_t middle = middle_of(room, n);
    for (size_t i = 0; i < n; i++) sums[i] -= middle;
}

/* Classes 2^-halvings octaves wide, from 0; all of them 0 where they are not wanted. */
static void classes_of(const int64_t *octaves, size_t n, int halvings, int wanted, uint8_t *out) {
    int shift = FRACTION - halvings;
    int64_t least = REACH;
    for (size_t i = 0; i < n; i++) {
        int64_t near = (octaves[i] + ((int64_t)1 << (shift - 1))) >> shift;
        near = near > REACH ? REACH : near < -REACH ? -REACH : near;
        least = near < least ? near : least;
        out[i] = (uint8_t)(near + REACH);
    }
    for (size_t i = 0; i < n; i++) out[i] = wanted ? (uint8_t)(out[i] - (least + REACH)) : 0;
}

static int64_t class_bits(const uint8_t *classes, size_t n) {
    uint32_t counts[SYMBOLS] = {0}, present = 0;
    for (size_t i = 0; i < n; i++) counts[classes[i]]++;
    for (int s = 0; s < SYMBOLS; s++) present += counts[s] > 0;
    if (present < 2) return (int64_t)32 << FRACTION;
    return entropy_of(counts) + ((int64_t)(8 * present + 64) << FRACTION);
}

/* The bits of the symbols and their tables; `rows_class` is that of all rows of the first matrix. */
static int64_t grid_bits(Matrix m, const uint8_t *rows_class, size_t stride,
                         const uint8_t *columns_class) {
    uint32_t counts[MOST_CONTEXTS][SYMBOLS];
    int64_t found = 0;
    int contexts = 0, across = 0;
    for (size_t r = 0; r < m.rows; r++)
        contexts = rows_class[r * stride] > contexts ? rows_class[r * stride] : contexts;
    for (size_t c = 0; c < m.columns; c++)
        across = columns_class[c] > across ? columns_class[c] : across;
    contexts += across + 1;
    memset(counts, 0, (size_t)contexts * sizeof counts[0]);
    for (size_t r = 0; r < m.rows; r++) {
        const uint8_t *row = m.in + r * m.every * m.columns;
        uint8_t class = rows_class[r * stride];
        for (size_t c = 0; c < m.columns; c++) counts[class + columns_class[c]][row[c]]++;
    }
    for (int k = 0; k < contexts; k++) {
        uint32_t any = 0;
        for (int s = 0; s < SYMBOLS; s++) any |= counts[k][s];
        if (any) found += entropy_of(counts[k]) + ((int64_t)TABLE_BITS << FRACTION);
    }
    return found;
}

/* The sums of values[symbol] over each row and, added to, over each column, where these are asked for. */
static void sums_of(Matrix m, const uint8_t *values, int64_t *by_row, int64_t *by_column) {
    for (size_t r = 0; r < m.rows; r++) {
        const uint8_t *row = m.in + r * m.every * m.columns;
        int64_t sum = 0;
        for (size_t c = 0; c < m.columns; c++) sum += values[row[c]];
        for (size_t c = 0; by_column && c < m.columns; c++) by_column[c] += values[row[c]];
        if (by_row) by_row[r] = sum;
    }
}

/* The grid of `rows` rows with which symbols take the fewest bits, and about how many these are, as
 * best_grid in coding/contexts.py; -1 where there is no memory. */
static int64_t best_grid_of(const uint8_t *in, size_t rows, size_t columns, size_t every,
                            size_t fewer, uint8_t *rows_class, uint8_t *columns_class) {
    Matrix all = {in, rows, columns, 1}, part = {in, (rows + every - 1) / every, columns, every};
    Matrix few = {in, (part.rows + fewer - 1) / fewer, columns, every * fewer};
    int64_t *by_row = malloc(2 * (rows + columns) * sizeof *by_row), best = INT64_MAX;
    uint8_t *tried = malloc(rows + columns), values[SYMBOLS];
    int64_t *by_column = by_row + rows, *room = by_column + columns;
    int chosen = 0, which = 3;
    if (!by_row || !tried) best = -1;
    for (int scale = 0; best >= 0 && scale < SCALES; scale++) {
        for (int s = 0; s < SYMBOLS; s++) values[s] = scale_of(scale, s);
        memset(by_column, 0, columns * sizeof *by_column);
        sums_of(few, values, by_row, by_column);
        octaves_of(by_row, few.rows, columns, scale, room);
        octaves_of(by_column, columns, few.rows, scale, room);
        classes_of(by_row, few.rows, 1, 1, tried);
        classes_of(by_column, columns, 1, 1, tried + few.rows);
        int64_t bits = grid_bits(few, tried, 1, tried + few.rows);
        if (bits < best) best = bits, chosen = scale;
    }
    if (best >= 0) {
        for (int s = 0; s < SYMBOLS; s++) values[s] = scale_of(chosen, s);
        memset(by_column, 0, columns * sizeof *by_column);
        if (every > 1) sums_of(part, values, NULL, by_column);
        sums_of(all, values, by_row, every > 1 ? NULL : by_column);
        octaves_of(by_row, rows, columns, chosen, room);
        octaves_of(by_column, columns, part.rows, chosen, room);
        best = INT64_MAX;
    }
    /* both, rows alone, columns alone; then what was best of these, twice as fine */
    for (int turn = 0; best >= 0 && turn < 4; turn++) {
        static const int turns[3] = {3, 1, 2};
        int now = turn < 3 ? turns[turn] : which;
        classes_of(by_row, rows, 1 + (turn == 3), now & 1, tried);
        classes_of(by_column, columns, 1 + (turn == 3), now >> 1, tried + rows);
        int64_t bits = grid_bits(part, tried, every, tried + rows);
        bits = bits / (int64_t)part.rows * (int64_t)rows +
               bits % (int64_t)part.rows * (int64_t)rows / (int64_t)part.rows;
        bits += class_bits(tried, rows) + class_bits(tried + rows, columns);
        if (bits >= best) continue;
        best = bits, which = now;
        memcpy(rows_class, tried, rows);
        memcpy(columns_class, tried + rows, columns);
    }
    free(by_row);
    free(tried);
    return best;
}


/* The different values of a group in order, and how many; more than `most` are not listed. */
static uint32_t list_of(const uint32_t *values, size_t size, size_t width, uint32_t most,
                        uint32_t *list) {
    uint32_t count = 0;
    if (width == 1) {
        uint64_t there[4] = {0};
        for (size_t i = 0; i < size; i++) there[values[i] >> 6] |= (uint64_t)1 << (values[i] & 63);
        for (uint32_t k = 0; k < 4; k++)
            for (; there[k] && count <= most; there[k] &= there[k] - 1)
                list[count++] = k << 6 | (uint32_t)__builtin_ctzll(there[k]);
        return count;
    }
    for (size_t i = 0; i < size && count <= most; i++) {
        uint32_t at = count;
        while (at > 0 && list[at - 1] > values[i]) at--;
        if (at > 0 && list[at - 1] == values[i]) continue;
        memmove(list + at + 1, list + at, (count - at) * sizeof *list);
        list[at] = values[i];
        count++;
    }
    return count;
}

/* Groups of `size` elements as coding/groups.py has them: steps after the first of each list, the
 * smallest and the largest, the steps themselves, the indices. Returns how many steps, or
 * (size_t)-1 where a group has more than `most` values; `most` is at most 16. */
static size_t groups_of(const uint8_t *in, size_t groups, size_t size, size_t width, uint32_t most,
                        uint8_t *more, uint8_t *first, uint8_t *steps, uint8_t *index) {
    size_t all = 0;
    for (size_t g = 0; g < groups; g++, first += width, index += size) {
        uint32_t values[SYMBOLS] = {0}, list[17];
        for (size_t i = 0; i < size; i++, in += width) memcpy(values + i, in, width);
        uint32_t count = list_of(values, size, width, most, list);
        if (count > most) return (size_t)-1;
        more[g] = (uint8_t)(count - 1);
        memcpy(first, list, width);
        for (uint32_t k = 1; k < count; k++, steps += width) {
            uint32_t step = list[k] - list[k - 1];
            memcpy(steps, &step, width);
        }
        uint32_t at[SYMBOLS] = {0};
        for (uint32_t k = 1; k < count; k++)
            for (size_t i = 0; i < size; i++) at[i] += values[i] >= list[k];
        for (size_t i = 0; i < size; i++) index[i] = (uint8_t)at[i];
        all += count - 1;
    }
    return all;
}

#endif
