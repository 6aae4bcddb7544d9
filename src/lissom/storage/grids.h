/* What contexts are chosen by: counts by row and column, and which neighbours share a table.
 * coding/contexts.py does the same in NumPy.
 */
#ifndef LISSOM_GRIDS_H
#define LISSOM_GRIDS_H

/* The sums of values[symbol] over each row and each column of whole rows, added to. */
static void sums_of(const uint8_t *in, size_t rows, size_t columns, const uint8_t *values,
                    uint64_t *by_row, uint64_t *by_column) {
    for (size_t r = 0; r < rows; r++, in += columns) {
        uint64_t sum = 0;
        for (size_t c = 0; c < columns; c++) {
            uint64_t value = values[in[c]];
            sum += value;
            by_column[c] += value;
        }
        by_row[r] += sum;
    }
}

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

#endif
