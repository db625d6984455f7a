#include "range_coder.h"

#include "vqcore.h"

/* Frequencies that are added up together before they are looked at one by one. */
#define RUN 32

static uint32_t next_word(RangeDecoder *decoder) {
    uint32_t word = 0;
    for (int byte = 0; byte < 4; byte++) {
        word = word << 8 | (decoder->read < decoder->count ? decoder->bytes[decoder->read] : 0);
        decoder->read++;
    }
    return word;
}

RangeDecoder decoder_of(const uint8_t *bytes, int64_t count) {
    RangeDecoder decoder = {.bytes = bytes, .count = count, .span = ~(uint64_t)0};
    decoder.offset = (uint64_t)next_word(&decoder) << 32;
    decoder.offset |= next_word(&decoder);
    return decoder;
}

int32_t decode_token(RangeDecoder *decoder, const int32_t *frequencies, int32_t codes) {
    const uint64_t scale = decoder->span >> FREQUENCY_BITS, target = decoder->offset / scale;
    uint32_t below = 0;
    int32_t value = 0;
    if (target >> FREQUENCY_BITS) return -1;
    for (; value + RUN <= codes; value += RUN) {
        uint32_t together = 0;
        for (int each = 0; each < RUN; each++) together += (uint32_t)frequencies[value + each];
        if (below + together > target) break;
        below += together;
    }
    while (value < codes - 1 && below + (uint32_t)frequencies[value] <= target) below += (uint32_t)frequencies[value++];
    decoder->offset -= scale * below;
    decoder->span = scale * (uint32_t)frequencies[value];
    if (decoder->span >> 32 == 0) {
        decoder->span <<= 32;
        decoder->offset = decoder->offset << 32 | next_word(decoder);
    }
    return value;
}

RangeEncoder encoder_to(uint8_t *bytes) { return (RangeEncoder){.bytes = bytes, .span = ~(uint64_t)0}; }

/* One more in the last place of all bytes put out; those that are all ones become zeros. */
static void carry(RangeEncoder *encoder) {
    int64_t place = encoder->count;
    while (place && ++encoder->bytes[--place] == 0) {}
}

static void put_byte(RangeEncoder *encoder) {
    encoder->bytes[encoder->count++] = (uint8_t)(encoder->low >> 56);
    encoder->low <<= 8;
}

static void add(RangeEncoder *encoder, uint64_t more) {
    encoder->low += more;
    if (encoder->low < more) carry(encoder);
}

void encode_token(RangeEncoder *encoder, const int32_t *frequencies, int32_t token) {
    const uint64_t scale = encoder->span >> FREQUENCY_BITS;
    uint32_t below = 0;
    for (int32_t value = 0; value < token; value++) below += (uint32_t)frequencies[value];
    add(encoder, scale * below);
    encoder->span = scale * (uint32_t)frequencies[token];
    if (encoder->span >> 32 == 0) {
        encoder->span <<= 32;
        for (int byte = 0; byte < 4; byte++) put_byte(encoder);
    }
}

int64_t finish_payload(RangeEncoder *encoder) {
    for (int zero_bits = 64; zero_bits >= 0; zero_bits -= 8) {
        const uint64_t mask = zero_bits == 64 ? ~(uint64_t)0 : ((uint64_t)1 << zero_bits) - 1;
        const uint64_t up = -encoder->low & mask; /* to the next multiple of 2^zero_bits */
        if (up >= encoder->span) continue;
        add(encoder, up);
        break;
    }
    for (int byte = 0; byte < 8; byte++) put_byte(encoder);
    while (encoder->count && encoder->bytes[encoder->count - 1] == 0) encoder->count--;
    return encoder->count;
}

EXPORTED(int64_t, vq_range_encode)(const int32_t *frequencies, int64_t stride, const int32_t *tokens, int64_t count,
                                  uint8_t *payload) {
    RangeEncoder encoder = encoder_to(payload);
    for (int64_t each = 0; each < count; each++) encode_token(&encoder, frequencies + each * stride, tokens[each]);
    return finish_payload(&encoder);
}

EXPORTED(int32_t, vq_range_decode)(const int32_t *frequencies, int64_t stride, int32_t codes, const uint8_t *payload,
                                  int64_t payload_bytes, int32_t *tokens, int64_t count) {
    RangeDecoder decoder = decoder_of(payload, payload_bytes);
    for (int64_t each = 0; each < count; each++) {
        tokens[each] = decode_token(&decoder, frequencies + each * stride, codes);
        if (tokens[each] < 0) return -1;
    }
    return 0;
}
