// The order in which the lanes coder goes through values, and what it knows of them. Definition:
// ../reference_lanes.py.

#pragma once

#include <algorithm>
#include <bit>
#include <vector>

#include "lanes.hpp"

namespace tersor::lanes {
namespace {

constexpr u64 trust = 8;  // columns that the rows so far are worth

inline int logarithm(u64 mean) {
  mean += 4;
  const int length = static_cast<int>(std::bit_width(mean)) - 1;
  return 8 * length + static_cast<int>(mean >> std::max(length - 3, 0) & 7);
}

// A mean of so many in units of 2^-8; the total in the same.
inline u64 mean_of(u64 total, u64 inverse) { return total * inverse >> 40; }

// 2^40 / count, rounded down. A double is exact enough: a quotient that is no whole number is at least
// 1 / count below the next one, and its rounding is 2^-13 / count at most; and it is quick.
inline u64 inverse_of(u64 count) {
  return static_cast<u64>(static_cast<std::int64_t>(0x1p40 / static_cast<double>(count)));
}

inline void logarithms_of(const u64* sums, std::size_t n, u64 inverse, int* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = logarithm(mean_of(sums[i] << 8, inverse));
}
using Logarithms = decltype(&logarithms_of);
constexpr u64 most_rows = 1u << 24;  // whose sums are below 2^32

// The values of tensors in rows, `n` rows at a time, column by column.
template <int n, typename Coder>
class Walk {
 public:
  explicit Walk(Coder& coder, Logarithms quick = logarithms_of) : coder_(coder), quick_(quick) {}

  bool tensor(const TensorShape& shape, std::int16_t* values) {
    shape_ = shape;
    width_ = shape.channels * shape.kernel;
    sums_.assign(width_, 0);
    offsets_.assign(width_, 0);
    channels_.resize(shape.channels);
    kernel_.resize(shape.kernel);
    kinds_.assign((width_ + 1) * n, 0);
    inverses_.clear();
    for (std::size_t x = 0; x < width_; x += step) inverses_.push_back(inverse_of(trust + x));
    all_ = 256;
    find_neighbours();
    const std::size_t whole = shape.size / width_;
    std::size_t row = 0;
    for (; row + n <= whole; row += n) {
      if (row > 0) look_back(row);
      if (!group(values + row * width_, n, width_)) return false;
    }
    const std::size_t left = shape.size - row * width_;
    if (left == 0) return true;
    if (row > 0) look_back(row);
    const int rows = static_cast<int>((left + width_ - 1) / width_);
    return group(values + row * width_, rows, left - static_cast<std::size_t>(rows - 1) * width_);
  }

 private:
  // Where the kinds beside and above are; behind the last column stand none.
  void find_neighbours() {
    const auto none = static_cast<u32>(width_);
    const std::size_t kernel = shape_.kernel == 1 ? width_ : shape_.kernel;
    const std::size_t line = shape_.kernel == 1 ? width_ : shape_.width;
    const std::size_t back = shape_.kernel == 1 ? 2 : shape_.width;
    beside_.resize(width_);
    above_.resize(width_);
    for (std::size_t x = 0, place = 0, at = 0; x < width_; ++x) {  // in a kernel; in a line of it
      beside_[x] = at == 0 ? none : static_cast<u32>(x - 1);
      above_[x] = place < back ? none : static_cast<u32>(x - back);
      if (++at == line) at = 0;
      if (++place == kernel) place = at = 0;
    }
  }

  // What the rows so far say about each column.
  void look_back(u64 rows) {
    std::fill(kernel_.begin(), kernel_.end(), 0);
    u64 sum = 0;
    std::size_t at = 0;
    for (auto& channel : channels_) {
      channel = 0;
      for (auto& place : kernel_) {
        place += sums_[at];
        channel += sums_[at++];
      }
      sum += channel;
    }
    all_ = mean_of(sum << 8, inverse_of(rows * width_));
    const int mean = logarithm(all_);
    const u64 by_column = inverse_of(rows), by_channel = inverse_of(rows * shape_.kernel);
    const u64 by_place = inverse_of(rows * shape_.channels);
    for (auto& place : kernel_) place = static_cast<u64>(12 * logarithm(mean_of(place << 8, by_place)));
    const auto run = rows < most_rows ? quick_ : logarithms_of;
    run(sums_.data(), width_, by_column, offsets_.data());
    at = 0;
    for (const auto& channel : channels_) {
      const int both = 8 * logarithm(mean_of(channel << 8, by_channel)) - 24 * mean;
      for (const auto& place : kernel_) {
        offsets_[at] = (both + static_cast<int>(place) + 4 * offsets_[at]) >> 4;
        ++at;
      }
    }
  }

  bool group(std::int16_t* values, int rows, std::size_t cut) {
    u64 totals[n];
    std::fill_n(totals, n, trust * all_);
    const bool full = rows == n && cut == width_;
    for (std::size_t start = 0; start < width_; start += step) {
      const Chunk chunk{start, std::min<std::size_t>(step, width_ - start), width_, cut, rows,
                        inverses_[start / step], totals, offsets_.data(), beside_.data(), above_.data(),
                        kinds_.data(), values, sums_.data()};
      if (!(full ? coder_.template chunk<true>(chunk) : coder_.template chunk<false>(chunk))) return false;
    }
    return true;
  }

  Coder& coder_;
  Logarithms quick_;
  TensorShape shape_{};
  std::size_t width_ = 0;
  std::vector<u64> sums_, inverses_;
  std::vector<u32> beside_, above_;
  std::vector<int> offsets_;
  std::vector<u64> channels_, kernel_;
  std::vector<u8> kinds_;
  u64 all_ = 256;
};

// Calls `column(x, active, at, kinds)` for each column of a chunk, of n rows at most.
template <int n, bool full, typename Visit>
void by_columns(const Chunk& chunk, int first, int last, const Visit& column) {
  int base[n];
  for (int lane = 0; lane < n; ++lane) base[lane] = logarithm(mean_of(chunk.totals[lane], chunk.inverse));
  for (std::size_t x = chunk.first; x < chunk.first + chunk.count; ++x) {
    const int active = full ? n : chunk.rows - (x >= chunk.cut);
    const u8 *beside = chunk.kinds + chunk.beside[x] * n, *above = chunk.kinds + chunk.above[x] * n;
    u8 at[n];
    for (int lane = 0; lane < n; ++lane) {
      const int level = std::clamp(((base[lane] + chunk.offsets[x]) >> 2) - lowest_level, first, last);
      at[lane] = static_cast<u8>(sign_pairs * level + 3 * above[lane] + beside[lane]);
    }
    column(x, active, at, chunk.kinds + x * n);
  }
}

}  // namespace
}  // namespace tersor::lanes
