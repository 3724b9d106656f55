// What the adaptive coders share: statistics of bins, and the arithmetic coder. Definition:
// ../reference_adaptive.py.

#pragma once

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <vector>

#include "kernels.hpp"

namespace tersor {
namespace {

using i32 = std::int32_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u32 one = 1u << 16, least = 24;
constexpr unsigned slow_memory = 255, fast_memory = 20;
constexpr u32 row_memory = 1000;
constexpr int buckets = 16;

struct Rates {
  i32 of[row_memory + 1];
  constexpr Rates() : of{} {
    for (u32 seen = 0; seen <= row_memory; ++seen) of[seen] = static_cast<i32>((2 * one / (2 * seen + 3)) >> 2);
  }
};
constexpr Rates rates;

inline u32 moved(u32 mean, u32 value, u32 seen) {
  const i32 step = (static_cast<i32>(value) - static_cast<i32>(mean)) * rates.of[seen] >> 14;
  return static_cast<u32>(static_cast<i32>(mean) + step);
}

inline int logarithm(u32 mean) {
  mean += 4;
  const int length = std::bit_width(mean) - 1;
  return 8 * length + static_cast<int>(mean >> std::max(length - 3, 0) & 7);
}

inline int bucket(u32 rest) {
  if (rest < 4) return static_cast<int>(rest);
  const int length = std::bit_width(rest) - 1;
  return 2 * length + static_cast<int>(rest >> (length - 1) & 1);
}

inline u32 first_of(int number, int& bits) {
  if (number < 4) {
    bits = 0;
    return static_cast<u32>(number);
  }
  bits = number / 2 - 1;
  return static_cast<u32>(2 + number % 2) << bits;
}

inline unsigned sign(int value) { return value > 0 ? 1 : value < 0 ? 2 : 0; }

// The number in low .. high with the fewest bytes that are not zeros at its end.
u32 shortest(u32 low, u32 high, unsigned& count) {
  for (count = 0; count < 4; ++count) {
    const u64 unit = u64{1} << (32 - 8 * count), value = (low + unit - 1) / unit * unit;
    if (value <= high) return static_cast<u32>(value);
  }
  return low;
}

struct Slot {
  std::uint16_t slow = one / 2, fast = one / 2;
  u32 seen = 0;
  Slot() = default;
  Slot(u32 probability, u32 trusted)
      : slow(static_cast<std::uint16_t>(probability)), fast(slow), seen(trusted) {}
  u32 probability() const {
    return std::clamp((u32{slow} + fast) >> 1, least, one - 1 - least);
  }
  void learn(bool bin) {
    const u32 wanted = bin ? one - 1 : 0;
    slow = static_cast<std::uint16_t>(moved(slow, wanted, seen));
    fast = static_cast<std::uint16_t>(moved(fast, wanted, std::min(seen, fast_memory)));
    seen = std::min(seen + 1, slow_memory);
  }
};

struct Encoder {
  std::uint8_t* out;
  std::size_t room, at = 0;
  u32 low = 0, high = ~0u;

  bool failed() const { return at > room; }
  bool code(u32 probability, bool bin) {
    const u32 middle = low + static_cast<u32>(u64{high - low} * probability >> 16);
    if (bin) {
      high = middle;
    } else {
      low = middle + 1;
    }
    while ((low ^ high) >> 24 == 0) {
      put(high >> 24);
      low <<= 8;
      high = high << 8 | 255;
    }
    return bin;
  }
  void put(u32 byte) {
    if (at < room) out[at] = static_cast<std::uint8_t>(byte);
    ++at;
  }
  void end() {
    unsigned count;
    const u32 value = shortest(low, high, count);
    for (unsigned i = 0; i < count; ++i) put(value >> (24 - 8 * i) & 255);
  }
};

struct Decoder {
  const std::uint8_t* bytes;
  std::size_t size, shifted = 0;
  u32 low = 0, high = ~0u, value = 0;

  Decoder(const std::uint8_t* given, std::size_t n) : bytes(given), size(n) {
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | byte(i);
  }
  u32 byte(std::size_t i) const { return i < size ? bytes[i] : 0u; }
  bool failed() const { return shifted > size; }
  bool code(u32 probability, bool) {
    const u32 middle = low + static_cast<u32>(u64{high - low} * probability >> 16);
    const bool bin = value <= middle;
    if (bin) {
      high = middle;
    } else {
      low = middle + 1;
    }
    while ((low ^ high) >> 24 == 0) {
      low <<= 8;
      high = high << 8 | 255;
      value = value << 8 | byte(shifted + 4);
      ++shifted;
    }
    return bin;
  }
  bool ended() const {
    unsigned count;
    return value == shortest(low, high, count) && shifted + count == size;
  }
};

// Codes the values of all tensors; -1 if they do not fit.
template <template <typename> class Model>
std::ptrdiff_t adaptive_encode(std::int16_t* values, const TensorShape* shapes, std::size_t n_shapes,
                               std::uint8_t* out, std::size_t room) {
  Encoder coder{out, room};
  Model<Encoder> model(coder);
  for (std::size_t i = 0; i < n_shapes; values += shapes[i].size, ++i) {
    if (!model.tensor(shapes[i], values)) return -1;
  }
  coder.end();
  return coder.failed() ? -1 : static_cast<std::ptrdiff_t>(coder.at);
}

template <template <typename> class Model>
bool adaptive_decode(const std::uint8_t* bytes, std::size_t n, const TensorShape* shapes,
                     std::size_t n_shapes, std::int16_t* values) {
  Decoder coder(bytes, n);
  Model<Decoder> model(coder);
  for (std::size_t i = 0; i < n_shapes; values += shapes[i].size, ++i) {
    if (!model.tensor(shapes[i], values)) return false;
  }
  return coder.ended();
}

}  // namespace
}  // namespace tersor
