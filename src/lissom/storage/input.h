/* Hostile bytes, taken from the front: never more than there are. */
#ifndef LISSOM_INPUT_H
#define LISSOM_INPUT_H

typedef struct {
    const uint8_t *p;
    size_t left;
} In;

static const uint8_t *take(In *in, size_t count) {
    if (count > in->left) return NULL;
    in->p += count;
    in->left -= count;
    return in->p - count;
}

static int byte_of(In *in) {
    const uint8_t *p = take(in, 1);
    return p ? *p : -1;
}

/* A varint, or UINT64_MAX, which none is. */
static uint64_t varint(In *in) {
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 63; shift += 7) {
        int byte = byte_of(in);
        if (byte < 0) return UINT64_MAX;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return value >> 62 || (byte == 0 && shift) ? UINT64_MAX : value;
    }
    return UINT64_MAX;
}

/* As many bytes as a varint says. */
static const uint8_t *counted(In *in, size_t each, size_t *bytes) {
    uint64_t count = varint(in);
    if (count > in->left / each) return NULL;
    *bytes = (size_t)count * each;
    return take(in, *bytes);
}

#endif
