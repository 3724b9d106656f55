// The context coder. Definition: reference_context.py.

#include "adaptive.hpp"

namespace tersor {
namespace {

constexpr u32 memory = 256, column_memory = 64, trust = 2;
constexpr int levels = 12, first_level = 2;

// The part of magnitudes that are larger than any given one, in units of 2^-16.
inline u32 more(int level) {
  const u32 mean = (3u << (level + first_level) >> 1) - 4;
  return static_cast<u32>((u64{mean} << 16) / (mean + 256));
}

// Means of magnitudes, in units of 2^-8.
class Past {
 public:
  explicit Past(const TensorShape& shape)
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
  TensorShape shape_;
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

  bool tensor(const TensorShape& shape, std::int16_t* values) {
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
  void row(const TensorShape& shape, Past& past, std::int16_t* x, std::size_t length, bool any_above) {
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

std::ptrdiff_t context_encode(std::int16_t* values, const TensorShape* shapes, std::size_t n_shapes,
                              std::uint8_t* out, std::size_t room) {
  return adaptive_encode<Model>(values, shapes, n_shapes, out, room);
}

bool context_decode(const std::uint8_t* bytes, std::size_t n, const TensorShape* shapes,
                    std::size_t n_shapes, std::int16_t* values) {
  return adaptive_decode<Model>(bytes, n, shapes, n_shapes, values);
}

}  // namespace tersor
