// The context coder. Definition: reference_context.py.

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "kernels.hpp"

namespace tersor {
namespace {

using i32 = std::int32_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr u32 one = 1u << 16, least = 24;
constexpr unsigned slow_memory = 255, fast_memory = 20, trust = 2;
constexpr u32 memory = 256, column_memory = 64, row_memory = 1000;
constexpr int levels = 12, buckets = 16, first_level = 2;

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

// The part of magnitudes that are larger than any given one, in units of 2^-16.
inline u32 more(int level) {
  const u32 mean = (3u << (level + first_level) >> 1) - 4;
  return static_cast<u32>((u64{mean} << 16) / (mean + 256));
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

// Means of magnitudes, in units of 2^-8.
class Past {
 public:
  explicit Past(const ContextShape& shape)
      : shape_(shape), columns_(shape.channels * shape.kernel, 256), channels_(shape.channels, 256),
        kernel_(shape.kernel, 256), offsets_(shape.channels * shape.kernel, 0),
        channel_sums_(shape.channels), kernel_sums_(shape.kernel) {}

  void begin_row() {
    row_ = all_;
    seen_ = 3;
    if (rows_ == 0) return;
    const int mean = logarithm(all_);
    std::size_t column = 0;
    for (const u32 channel : channels_) {
      const int by_channel = 8 * (logarithm(channel) - mean);
      for (std::size_t k = 0; k < shape_.kernel; ++k, ++column) {
        const int by_place = 12 * (logarithm(kernel_[k]) - mean);
        offsets_[column] = (by_channel + by_place + 4 * (logarithm(columns_[column]) - mean)) >> 4;
      }
    }
  }

  int level(std::size_t column, u32 near) const {
    const u32 mean = (8 * last_ + 6 * row_ + (near << 8)) >> 4;
    return std::clamp(((logarithm(mean) + offsets_[column]) >> 3) - first_level, 0, levels - 1);
  }

  void add(u32 magnitude) {
    const i32 value = static_cast<i32>(std::min(magnitude, 255u) << 8);
    last_ = static_cast<u32>(static_cast<i32>(last_) + ((value - static_cast<i32>(last_)) * 4681 >> 16));
    row_ = moved(row_, static_cast<u32>(value), seen_);
    seen_ = std::min(seen_ + 1, row_memory);
  }

  void end_row(const std::int16_t* values) {
    std::fill(channel_sums_.begin(), channel_sums_.end(), 0);
    std::fill(kernel_sums_.begin(), kernel_sums_.end(), 0);
    const u32 seen = std::min(rows_, column_memory);
    std::size_t column = 0;
    u64 sum = 0;
    for (std::size_t c = 0; c < shape_.channels; ++c) {
      u64 total = 0;
      for (std::size_t k = 0; k < shape_.kernel; ++k, ++column) {
        const u32 magnitude = std::min(static_cast<u32>(std::abs(values[column])), 255u);
        columns_[column] = moved(columns_[column], magnitude << 8, seen);
        kernel_sums_[k] += magnitude;
        total += magnitude;
      }
      channels_[c] = moved(channels_[c], static_cast<u32>((total << 8) / shape_.kernel), seen);
      sum += total;
    }
    const u32 longer = std::min(rows_, memory);
    for (std::size_t k = 0; k < shape_.kernel; ++k) {
      kernel_[k] = moved(kernel_[k], static_cast<u32>((kernel_sums_[k] << 8) / shape_.channels), longer);
    }
    all_ = moved(all_, static_cast<u32>((sum << 8) / columns_.size()), longer);
    ++rows_;
  }

 private:
  ContextShape shape_;
  std::vector<u32> columns_, channels_, kernel_;
  std::vector<int> offsets_;
  std::vector<u64> channel_sums_, kernel_sums_;
  u32 all_ = 256, row_ = 256, last_ = 256, seen_ = 3, rows_ = 0;
};

// Codes values; the decoder's replace what is in `values`. False if the coder has failed.
template <typename Coder>
class Model {
 public:
  explicit Model(Coder& coder) : coder_(coder) {
    for (int level = 0; level < levels; ++level) {
      std::fill_n(zero_[level], 9, Slot(more(level), trust));
    }
  }

  bool tensor(const ContextShape& shape, std::int16_t* values) {
    Past past(shape);
    const std::size_t width = shape.channels * shape.kernel;
    for (std::size_t start = 0; start < shape.size; start += width) {
      const std::size_t length = std::min(width, shape.size - start);
      past.begin_row();
      row(shape, past, values + start, length, start > 0);
      if (coder_.failed()) return false;
      if (length == width) past.end_row(values + start);
    }
    return true;
  }

 private:
  void row(const ContextShape& shape, Past& past, std::int16_t* x, std::size_t length, bool any_above) {
    const std::size_t width = shape.channels * shape.kernel;
    const std::size_t back = shape.kernel == 1 ? 2 : shape.width;
    std::size_t place = 0;  // in the kernel; without kernels, in the row
    std::size_t line = 0;   // in a line of the kernel
    for (std::size_t column = 0; column < length; ++column, ++x) {
      const int before = column > 0 ? x[-1] : 0;
      const int up = any_above ? *(x - width) : 0;
      const int above = place >= back ? *(x - back) : 0;
      const int beside = shape.kernel == 1 || line > 0 ? before : 0;
      ++place;
      if (++line == shape.width) line = 0;
      if (place == shape.kernel && shape.kernel > 1) place = line = 0;
      const u32 near = static_cast<u32>(std::abs(before) + std::abs(up));
      const int zeros = 3 * std::min(2, std::abs(before)) + std::min(2, std::abs(up));
      const unsigned signs = 9 * sign(beside) + 3 * sign(above) + sign(up);
      *x = static_cast<std::int16_t>(value(*x, past.level(column, near), zeros, signs));
      past.add(static_cast<u32>(std::abs(*x)));
    }
  }

  int value(int given, int level, int zeros, unsigned signs) {
    if (!bin(zero_[level][zeros], given != 0)) return 0;
    const bool positive = bin(signs_[signs], given > 0);
    const int found = static_cast<int>(magnitude(static_cast<u32>(std::max(std::abs(given) - 1, 0)), level)) + 1;
    return positive ? found : -found;
  }

  u32 magnitude(u32 rest, int level) {
    const int wanted = bucket(rest);
    int number = 0, bits;
    while (number < buckets - 1 && bin(unary_[number][level], wanted > number)) ++number;
    const u32 first = first_of(number, bits);
    const u32 behind = rest > first ? rest - first : 0;
    u32 node = 1;
    for (int bit = bits - 1; bit >= 0; --bit) {
      node = 2 * node + (bin(places_[number][node], behind >> bit & 1) ? 1 : 0);
    }
    return first + node - (1u << bits);
  }

  bool bin(Slot& slot, bool wanted) {
    const bool found = coder_.code(slot.probability(), wanted);
    slot.learn(found);
    return found;
  }

  Coder& coder_;
  Slot zero_[levels][9], signs_[27], unary_[buckets][levels], places_[buckets][64];
};

}  // namespace

std::ptrdiff_t context_encode(std::int16_t* values, const ContextShape* shapes, std::size_t n_shapes,
                              std::uint8_t* out, std::size_t room) {
  Encoder coder{out, room};
  Model<Encoder> model(coder);
  for (std::size_t i = 0; i < n_shapes; values += shapes[i].size, ++i) {
    if (!model.tensor(shapes[i], values)) return -1;
  }
  coder.end();
  return coder.failed() ? -1 : static_cast<std::ptrdiff_t>(coder.at);
}

bool context_decode(const std::uint8_t* bytes, std::size_t n, const ContextShape* shapes,
                    std::size_t n_shapes, std::int16_t* values) {
  Decoder coder(bytes, n);
  Model<Decoder> model(coder);
  for (std::size_t i = 0; i < n_shapes; values += shapes[i].size, ++i) {
    if (!model.tensor(shapes[i], values)) return false;
  }
  return coder.ended();
}

}  // namespace tersor
