/* Reading symbols that were coded with contexts. FORMAT.md, "rANS"; coding/symbols.py does the same. */
#ifndef LISSOM_SYMBOLS_H
#define LISSOM_SYMBOLS_H

#define MOST_CLASSES MOST_CONTEXTS

/* Any node, which nodes.h reads. */
static int node(In *in, uint8_t *out, size_t n, const uint8_t *side, uint32_t depth);

/* The table of each symbol by its row and column: rows of a class are the same. */
static int grid(In *in, uint8_t *table, size_t n, uint8_t *mapping, uint32_t depth) {
    uint64_t columns = varint(in);
    if (columns == 0 || columns > (n ? n : 1)) return DAMAGED;
    size_t rows = n / (size_t)columns + (n % (size_t)columns > 0), wide = (size_t)columns;
    uint8_t *classes = malloc(rows + wide), *row_of = malloc(MOST_CLASSES * wide);
    int found = classes && row_of ? DONE : DAMAGED;
    if (found == DONE) found = node(in, classes, rows, NULL, depth);
    if (found == DONE) found = node(in, classes + rows, wide, NULL, depth);
    if (found == DONE) found = node(in, mapping, MOST_CLASSES, NULL, depth);
    uint8_t down = 0, across = 0;
    for (size_t r = 0; found == DONE && r < rows; r++)
        down = classes[r] > down ? classes[r] : down;
    for (size_t c = 0; found == DONE && c < wide; c++)
        across = classes[rows + c] > across ? classes[rows + c] : across;
    if (found == DONE && down + across >= MOST_CLASSES) found = DAMAGED;
    for (size_t k = 0; found == DONE && k <= down; k++)
        for (size_t c = 0; c < wide; c++)
            row_of[k * wide + c] = mapping[k + classes[rows + c]];
    for (size_t r = 0; found == DONE && r < rows; r++) {
        size_t start = r * wide, length = wide < n - start ? wide : n - start;
        memcpy(table + start, row_of + classes[r] * wide, length);
    }
    free(classes);
    free(row_of);
    return found;
}

/* The tables that symbols are looked up in, from their bits; NULL where these are damaged. */
static void *tables_of(const uint8_t *packed, size_t size, uint32_t count, uint32_t precision,
                       Tables *t) {
    uint32_t slots = 1u << precision;
    int whole = precision <= 12;
    uint32_t *room = malloc((whole ? (size_t)4 * slots : slots + 4 * SYMBOLS) * count + 4);
    Bits b = {packed, 8 * size, 0, 0};
    if (!room) return NULL;
    uint32_t *entry = room, *span = room;
    uint8_t *symbol = (uint8_t *)(room + (size_t)count * SYMBOLS);
    for (uint32_t k = 0; k < count; k++) {
        uint8_t levels[SYMBOLS];
        uint32_t freqs[SYMBOLS], fineness, start = 0;
        if (read_table(&b, levels, &fineness) != DONE ||
            frequencies_of(levels, fineness, precision, freqs) != DONE) {
            free(room);
            return NULL;
        }
        for (uint32_t s = 0; s < SYMBOLS; s++) {
            uint32_t f = freqs[s], e = s << 24 | (f - 1) << 12;
            if (whole)
                for (uint32_t i = 0; i < f; i++) *entry++ = e | i;
            else if (f)
                memset(symbol + (size_t)k * slots + start, (int)s, f);
            if (!whole) *span++ = f << 16 | start;
            start += f;
        }
    }
    if (b.size - b.at >= 8) { /* more bytes than the tables need */
        free(room);
        return NULL;
    }
    if (!whole) memset(symbol + (size_t)count * slots, 0, 3);
    *t = (Tables){whole ? room : NULL, symbol, room, precision};
    return room;
}

/* Symbols of which each lane has some that follow each other, put in order. */
static void lane_by_lane(const uint8_t *in, size_t n, size_t lanes, uint8_t *out) {
    size_t rows = n / lanes, longer = n % lanes;
    for (size_t l = 0; l < lanes; l++)
        for (size_t t = 0; t < rows + (l < longer); t++) *out++ = in[t * lanes + l];
}

static int rans(In *in, uint8_t *out, size_t n, const uint8_t *side, uint32_t depth) {
    int precision = byte_of(in), lanes_log2 = byte_of(in), kind = byte_of(in);
    if (precision < 1 || precision > 14 || lanes_log2 < 0 || lanes_log2 > 14 ||
        n > (size_t)1 << (14 + lanes_log2))
        return DAMAGED;
    size_t lanes = (size_t)1 << lanes_log2, packed_bytes, words_bytes;
    uint8_t mapping[SYMBOLS] = {0}, *context = NULL, *lined = NULL, most = 0;
    uint32_t *states = NULL;
    void *room = NULL;
    int found = DAMAGED;
    if (kind == 1) {
        context = malloc(n + 1);
        if (!context || grid(in, context, n, mapping, depth) != DONE) goto end;
    } else if (kind == 2) {
        if (!side || node(in, mapping, SYMBOLS, NULL, depth) != DONE) goto end;
        context = malloc(n + 1);
        if (!context) goto end;
        for (size_t i = 0; i < n; i++) context[i] = mapping[side[i]];
    } else if (kind == 3) {
        if (node(in, mapping, SYMBOLS, NULL, depth) != DONE) goto end;
        context = malloc(n + 1);
        lined = malloc(n + 1);
        if (!context || !lined) goto end;
        memset(context, mapping[0], lanes < n ? lanes : n);
    } else if (kind != 0) {
        goto end;
    }
    for (int i = 0; i < SYMBOLS; i++) most = mapping[i] > most ? mapping[i] : most;
    uint64_t count = varint(in);
    if (count <= most || count > MOST_TABLES) goto end;
    const uint8_t *packed = counted(in, 1, &packed_bytes), *first, *words;
    if (!packed || !(first = take(in, 4 * lanes)) || !(words = counted(in, 2, &words_bytes)))
        goto end;
    Tables t;
    room = tables_of(packed, packed_bytes, (uint32_t)count, (uint32_t)precision, &t);
    states = malloc(4 * lanes);
    if (!room || !states) goto end;
    memcpy(states, first, 4 * lanes);
    Contexts c = {context, kind == 3 ? mapping : NULL};
    found = decode_lanes(&t, words, words_bytes, states, lanes, c, lined ? lined : out, n);
    if (lined) lane_by_lane(lined, n, lanes, out);
end:
    free(context);
    free(lined);
    free(room);
    free(states);
    return found;
}

#endif
