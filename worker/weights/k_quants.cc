// Offsets within a block are those of ggml-common.h. Quants of 32 elements lie in 32 bytes at one
// bit position; the next 32 elements in the same bytes at the next position.
#include "worker/weights/k_quants.h"

#include <cstdint>
#include <cstring>

#include "worker/weights/dequantize.h"

namespace shardline {
namespace {

float HalfAt(const uint8_t* in) {
  uint16_t bits;
  std::memcpy(&bits, in, sizeof(bits));
  return WidenF16(bits);
}

const uint8_t* Bytes(const std::byte* in) { return reinterpret_cast<const uint8_t*>(in); }

// Scale and least value of part `i` of 8, six bits each, packed in 12 bytes.
struct ScaleAndLeast {
  float scale, least;
};
ScaleAndLeast SixBits(const uint8_t* packed, int i) {
  const uint8_t* scales = packed;
  const uint8_t* leasts = packed + 4;
  const uint8_t* both = packed + 8;
  if (i < 4) return {static_cast<float>(scales[i] & 63), static_cast<float>(leasts[i] & 63)};
  const int j = i - 4;
  return {static_cast<float>((both[j] & 15) | (scales[j] >> 2 & 0x30)),
          static_cast<float>((both[j] >> 4) | (leasts[j] >> 2 & 0x30))};
}

}  // namespace

// scales[16], quants[64], d, dmin
void WidenQ2K(const std::byte* in, float* out) {
  const uint8_t* scales = Bytes(in);
  const uint8_t* quants = scales + 16;
  const float d = HalfAt(quants + 64), dmin = HalfAt(quants + 66);
  for (int part = 0; part < 16; ++part) {
    const float scale = d * static_cast<float>(scales[part] & 15);
    const float least = dmin * static_cast<float>(scales[part] >> 4);
    const uint8_t* from = quants + part / 8 * 32 + part % 2 * 16;
    const int shift = part / 2 % 4 * 2;
    for (int i = 0; i < 16; ++i) {
      out[part * 16 + i] = scale * static_cast<float>(from[i] >> shift & 3) - least;
    }
  }
}

// high bits[32], quants[64], scales[12], d
void WidenQ3K(const std::byte* in, float* out) {
  const uint8_t* high = Bytes(in);
  const uint8_t* quants = high + 32;
  const uint8_t* scales = quants + 64;
  const float d = HalfAt(scales + 12);
  for (int part = 0; part < 16; ++part) {
    const int low_scale = scales[part % 8] >> part / 8 * 4 & 15;
    const int high_scale = scales[8 + part % 4] >> part / 4 * 2 & 3;
    const float scale = d * static_cast<float>((low_scale | high_scale << 4) - 32);
    const uint8_t* from = quants + part / 8 * 32 + part % 2 * 16;
    const uint8_t* above = high + part % 2 * 16;
    const int shift = part / 2 % 4 * 2, bit = part / 2;
    for (int i = 0; i < 16; ++i) {
      const int missing = above[i] >> bit & 1 ? 0 : 4;  // a set bit means no offset
      out[part * 16 + i] = scale * static_cast<float>((from[i] >> shift & 3) - missing);
    }
  }
}

// d, dmin, scales[12], quants[128]
void WidenQ4K(const std::byte* in, float* out) {
  const uint8_t* block = Bytes(in);
  const float d = HalfAt(block), dmin = HalfAt(block + 2);
  for (int part = 0; part < 8; ++part) {
    const ScaleAndLeast six = SixBits(block + 4, part);
    const float scale = d * six.scale, least = dmin * six.least;
    const uint8_t* from = block + 16 + part / 2 * 32;
    const int shift = part % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      out[part * 32 + i] = scale * static_cast<float>(from[i] >> shift & 15) - least;
    }
  }
}

// d, dmin, scales[12], high bits[32], quants[128]
void WidenQ5K(const std::byte* in, float* out) {
  const uint8_t* block = Bytes(in);
  const float d = HalfAt(block), dmin = HalfAt(block + 2);
  const uint8_t* high = block + 16;
  for (int part = 0; part < 8; ++part) {
    const ScaleAndLeast six = SixBits(block + 4, part);
    const float scale = d * six.scale, least = dmin * six.least;
    const uint8_t* from = block + 48 + part / 2 * 32;
    const int shift = part % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int quant = (from[i] >> shift & 15) | (high[i] >> part & 1) << 4;
      out[part * 32 + i] = scale * static_cast<float>(quant) - least;
    }
  }
}

// low bits[128], high bits[64], scales[16], d
void WidenQ6K(const std::byte* in, float* out) {
  const uint8_t* low = Bytes(in);
  const uint8_t* high = low + 128;
  const auto* scales = reinterpret_cast<const int8_t*>(high + 64);
  const float d = HalfAt(high + 80);
  for (int part = 0; part < 16; ++part) {
    const float scale = d * static_cast<float>(scales[part]);
    const int thirty_two = part / 2, inner = part % 2 * 16;  // which 32 elements, where in them
    const uint8_t* from = low + thirty_two / 4 * 64 + thirty_two % 2 * 32 + inner;
    const uint8_t* above = high + thirty_two / 4 * 32 + inner;
    const int shift = thirty_two / 2 % 2 * 4, high_shift = thirty_two % 4 * 2;
    for (int i = 0; i < 16; ++i) {
      const int quant = (from[i] >> shift & 15) | (above[i] >> high_shift & 3) << 4;
      out[part * 16 + i] = scale * static_cast<float>(quant - 32);
    }
  }
}

}  // namespace shardline
