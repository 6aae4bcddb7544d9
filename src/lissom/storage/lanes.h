/* rANS in interleaved lanes: the loops that decode and encode. FORMAT.md, "rANS".
 *
 * Nothing is read past `end` or written past `out + n`; what the words say chooses among slots that
 * the tables have, and contexts are checked by whoever makes them.
 */
#ifndef LISSOM_LANES_H
#define LISSOM_LANES_H

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_X86 1
#else
#define HAS_X86 0
#endif

#define LOW (1u << 16) /* a state below this takes a word from the stream */

static inline uint32_t word_at(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }

/* What the decoder looks up: one 32-bit entry a slot, symbol << 24 | (frequency - 1) << 12 | offset
 * for at most 12 bits of precision, or a symbol a slot and frequency << 16 | start a symbol. */
typedef struct {
    const uint32_t *entry;   /* tables << precision, or NULL */
    const uint8_t *symbol;   /* tables << precision (+ 3 bytes of slack) */
    const uint32_t *span;    /* tables * 256 */
    uint32_t precision;
} Tables;

/* The table of each symbol, or NULL where all have the first. Where `next` is not NULL, it is what
 * the symbol before in the same lane says, and filled in row by row. */
typedef struct {
    uint8_t *of;
    const uint8_t *next;
} Contexts;

/* The contexts of the row that begins at `done`, from the row before it. */
static inline void follow(Contexts c, const uint8_t *out, size_t done, size_t lanes, size_t n) {
    size_t many = n - done < lanes ? n - done : lanes;
    for (size_t l = 0; c.next && l < many; l++) c.of[done + l] = c.next[out[done - lanes + l]];
}

static inline uint32_t step(const Tables *t, uint32_t state, uint32_t context, uint8_t *out) {
    uint32_t slot = state & ((1u << t->precision) - 1);
    uint32_t at = context << t->precision | slot;
    if (t->entry) {
        uint32_t e = t->entry[at];
        *out = (uint8_t)(e >> 24);
        return (((e >> 12) & 0xfff) + 1) * (state >> t->precision) + (e & 0xfff);
    }
    uint8_t s = t->symbol[at];
    uint32_t span = t->span[context << 8 | s];
    *out = s;
    return (span >> 16) * (state >> t->precision) + slot - (span & 0xffff);
}

/* One step of `lanes` lanes with enough words left for all of them. The flags are constants where
 * this is inlined; a taken word is chosen by arithmetic, since a branch would be a coin toss. */
static inline __attribute__((always_inline)) const uint8_t *
row(const Tables *t, int packed, int contextual, uint32_t *states, size_t lanes,
    const uint8_t *context, const uint8_t *p, uint8_t *out) {
    const Tables u = {packed ? t->entry : NULL, t->symbol, t->span, t->precision};
    for (size_t l = 0; l < lanes; l++) {
        uint32_t x = step(&u, states[l], contextual ? context[l] : 0, out + l);
        uint32_t low = x < LOW;
        uint32_t word = word_at(p) & (0u - low);
        states[l] = x << (low << 4) | word;
        p += low << 1;
    }
    return p;
}

#if HAS_X86
#define TARGET512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,popcnt")))

static int has_avx512(void) {
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
}

/* Lanes whose table entries are looked up together: one load each, which takes less than half of
 * what a gather does. Of fewer lanes the loads would wait for the stores before them. */
#define TOGETHER 256
#define FEWEST_TOGETHER 64

/* The slots in `at` (of all tables, one after the other) become what the tables have there. Not to
 * be vectorized: that would be a gather again. */
__attribute__((noinline, optimize("no-tree-vectorize"))) static void
look_up(const Tables *t, uint32_t *at, size_t n, uint8_t *out) {
    if (t->entry) {
        const uint32_t *entry = t->entry;
        for (size_t i = 0; i < n; i += 4) {
            uint32_t a = entry[at[i]], b = entry[at[i + 1]];
            uint32_t c = entry[at[i + 2]], d = entry[at[i + 3]];
            at[i] = a, at[i + 1] = b, at[i + 2] = c, at[i + 3] = d;
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t slot = at[i];
        uint8_t s = t->symbol[slot];
        out[i] = s;
        at[i] = t->span[slot >> t->precision << 8 | s];
    }
}

/* The same by gathering. */
TARGET512 static void gather(const Tables *t, uint32_t *at, size_t n, uint8_t *out) {
    const __m128i shift = _mm_cvtsi32_si128((int)t->precision);
    for (size_t i = 0; i < n; i += 16) {
        __m512i slot = _mm512_loadu_si512(at + i);
        if (t->entry) {
            _mm512_storeu_si512(at + i, _mm512_i32gather_epi32(slot, t->entry, 4));
            continue;
        }
        __m512i s = _mm512_and_si512(_mm512_i32gather_epi32(slot, t->symbol, 1),
                                     _mm512_set1_epi32(0xff));
        _mm_storeu_si128((__m128i *)(out + i), _mm512_cvtepi32_epi8(s));
        s = _mm512_or_si512(s, _mm512_slli_epi32(_mm512_srl_epi32(slot, shift), 8));
        _mm512_storeu_si512(at + i, _mm512_i32gather_epi32(s, t->span, 4));
    }
}

TARGET512 static const uint8_t *row_avx512(const Tables *t, uint32_t *states, size_t lanes,
                                           const uint8_t *context, const uint8_t *p, uint8_t *out) {
    const __m512i mask = _mm512_set1_epi32((1 << t->precision) - 1);
    const __m128i shift = _mm_cvtsi32_si128((int)t->precision);
    const __m512i low = _mm512_set1_epi32(LOW), twelve = _mm512_set1_epi32(0xfff);
    uint32_t at[TOGETHER] __attribute__((aligned(64)));
    for (size_t l = 0; l < lanes; l += 16) {
        __m512i slot = _mm512_and_si512(_mm512_loadu_si512(states + l), mask);
        if (context) {
            __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(context + l)));
            slot = _mm512_or_si512(slot, _mm512_sll_epi32(c, shift));
        }
        _mm512_store_si512(at + l, slot);
    }
    if (lanes < FEWEST_TOGETHER)
        gather(t, at, lanes, out);
    else
        look_up(t, at, lanes, out);
    for (size_t l = 0; l < lanes; l += 16) {
        __m512i state = _mm512_loadu_si512(states + l), e = _mm512_load_si512(at + l);
        __m512i x = _mm512_srl_epi32(state, shift);
        if (t->entry) {
            __m512i f = _mm512_and_si512(_mm512_srli_epi32(e, 12), twelve);
            x = _mm512_mullo_epi32(_mm512_add_epi32(f, _mm512_set1_epi32(1)), x);
            x = _mm512_add_epi32(x, _mm512_and_si512(e, twelve));
            _mm_storeu_si128((__m128i *)(out + l), _mm512_cvtepi32_epi8(_mm512_srli_epi32(e, 24)));
        } else {
            x = _mm512_mullo_epi32(_mm512_srli_epi32(e, 16), x);
            x = _mm512_add_epi32(x, _mm512_and_si512(state, mask));
            x = _mm512_sub_epi32(x, _mm512_and_si512(e, _mm512_set1_epi32(0xffff)));
        }
        __mmask16 take = _mm512_cmplt_epu32_mask(x, low);
        __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
        words = _mm512_maskz_expand_epi32(take, words);
        x = _mm512_mask_or_epi32(x, take, _mm512_slli_epi32(x, 16), words);
        p += 2 * (unsigned)_mm_popcnt_u32(take);
        _mm512_storeu_si512(states + l, x);
    }
    return p;
}

TARGET512 static size_t rows_avx512(const Tables *t, uint32_t *states, size_t lanes,
                                    Contexts c, const uint8_t **p, const uint8_t *end,
                                    uint8_t *out, size_t n) {
    size_t done = 0;
    /* The last group of a row reads 32 bytes at once, however few it takes. */
    while (n - done >= lanes && (size_t)(end - *p) >= 2 * lanes + 32) {
        for (size_t l = 0; l < lanes; l += TOGETHER) {
            size_t many = lanes - l < TOGETHER ? lanes - l : TOGETHER;
            *p = row_avx512(t, states + l, many, c.of ? c.of + done + l : NULL, *p,
                            out + done + l);
        }
        done += lanes;
        follow(c, out, done, lanes, n);
    }
    return done;
}
#endif

static size_t rows_plain(const Tables *t, uint32_t *states, size_t lanes, Contexts c, size_t done,
                         const uint8_t **words, const uint8_t *end, uint8_t *out, size_t n) {
    const uint8_t *p = *words;
#define ROWS(packed, contextual)                                                                 \
    while (n - done >= lanes && (size_t)(end - p) >= 2 * lanes) {                                \
        p = row(t, packed, contextual, states, lanes, contextual ? c.of + done : NULL, p,        \
                out + done);                                                                     \
        done += lanes;                                                                           \
        follow(c, out, done, lanes, n);                                                          \
    }
    if (t->entry && c.of) {
        ROWS(1, 1)
    } else if (t->entry) {
        ROWS(1, 0)
    } else if (c.of) {
        ROWS(0, 1)
    } else {
        ROWS(0, 0)
    }
#undef ROWS
    *words = p;
    return done;
}

/* Decode n symbols; `states` (lanes of them) are overwritten. */
static int decode_lanes(const Tables *t, const uint8_t *words, size_t words_bytes,
                        uint32_t *states, size_t lanes, Contexts c, uint8_t *out, size_t n) {
    for (size_t l = 0; l < lanes; l++)
        if (states[l] < LOW) return DAMAGED;
    const uint8_t *p = words, *end = words + words_bytes;
    size_t done = 0;
#if HAS_X86
    if (lanes % 16 == 0 && has_avx512())
        done = rows_avx512(t, states, lanes, c, &p, end, out, n);
#endif
    done = rows_plain(t, states, lanes, c, done, &p, end, out, n);
    for (size_t i = done; i < n; i++) { /* the words may end in this row */
        size_t l = (i - done) % lanes;
        if (c.next && i >= lanes) c.of[i] = c.next[out[i - lanes]];
        uint32_t x = step(t, states[l], c.of ? c.of[i] : 0, out + i);
        if (x < LOW) {
            if (p == end) return DAMAGED;
            x = x << 16 | word_at(p);
            p += 2;
        }
        states[l] = x;
    }
    if (p != end) return DAMAGED;
    for (size_t l = 0; l < lanes; l++)
        if (states[l] != LOW) return DAMAGED;
    return DONE;
}

/* A symbol for the encoder: its frequency's reciprocal in 64 bits, since dividing takes long. */
typedef struct {
    uint64_t reciprocal; /* 2^64 / frequency, rounded up; of a frequency of 1, 2^64 - 1 */
    uint32_t most;       /* a larger state gives a word first */
    uint32_t bias, gap, frequency;
} Coder;

static Coder coder_of(uint32_t f, uint32_t start, uint32_t precision) {
    uint32_t slots = 1u << precision;
    Coder c = {0, 0, 0, 0, f};
    if (f == 0) return c;
    c.most = (uint32_t)(((uint64_t)f << (32 - precision)) - 1);
    c.gap = slots - f;
    c.bias = start;
    c.reciprocal = UINT64_MAX / f + 1;
    if (f == 1) { /* the quotient comes out as the state less one */
        c.reciprocal = UINT64_MAX;
        c.bias += c.gap;
    }
    return c;
}

/* The high 64 bits of a product of 32 and 64 bits. */
static inline uint32_t quotient(uint32_t x, uint64_t reciprocal) {
    return (uint32_t)((x * (reciprocal >> 32) + (x * (reciprocal & 0xffffffff) >> 32)) >> 32);
}

/* Encode n symbols backwards; `words` has room for one each, and they end where it does. Returns
 * the offset of the first; `states` (lanes of them) come back as the decoder's first ones. */
static size_t encode_lanes(const uint8_t *in, size_t n, const uint8_t *context,
                           const Coder *coders, uint32_t *states, size_t lanes, uint8_t *words,
                           uint32_t *all) {
    uint8_t *p = words + 2 * n;
    for (size_t l = 0; l < lanes; l++) states[l] = LOW;
    for (size_t start = n - n % lanes, count = n % lanes;; start -= lanes, count = lanes) {
        for (size_t l = count; l-- > 0;) {
            size_t at = context ? (size_t)context[start + l] << 8 : 0;
            const Coder *c = coders + (at | in[start + l]);
            uint32_t x = states[l], take = x > c->most;
            p[-2] = (uint8_t)x; /* there is room: so many symbols, so many words are left */
            p[-1] = (uint8_t)(x >> 8);
            p -= take << 1;
            x >>= take << 4;
            states[l] = x + c->bias + quotient(x, c->reciprocal) * c->gap;
            *all &= c->frequency > 0;
        }
        if (start == 0) break;
    }
    return (size_t)(p - words);
}

#endif
