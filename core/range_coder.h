/* The range coder of docs/format.md, 5.2 and 5.3: frequencies sum to 2^24, words have 32 bits and states 64. */
#ifndef VQ_RANGE_CODER_H
#define VQ_RANGE_CODER_H

#include <stdint.h>

#define FREQUENCY_BITS 24

typedef struct {
    const uint8_t *bytes;
    int64_t count, read;
    uint64_t span, offset;
} RangeDecoder;

/* What the encoder put out so far are `count` bytes, a multiple of 4; `low` is what follows them. */
typedef struct {
    uint8_t *bytes;
    int64_t count;
    uint64_t span, low;
} RangeEncoder;

/* What a payload of so many tokens takes at most. */
static inline int64_t payload_bytes(int64_t tokens) { return 4 * tokens + 16; }

RangeDecoder decoder_of(const uint8_t *bytes, int64_t count);
/* The value of the next token by its frequencies (codes), or -1 where no encoder put out such a payload. */
int32_t decode_token(RangeDecoder *decoder, const int32_t *frequencies, int32_t codes);

/* bytes: payload_bytes of all tokens. */
RangeEncoder encoder_to(uint8_t *bytes);
void encode_token(RangeEncoder *encoder, const int32_t *frequencies, int32_t token);
/* The length of the payload, the shortest one there is: it does not end in a zero byte. */
int64_t finish_payload(RangeEncoder *encoder);

#endif
