// Bits from the low one of each byte up: the heads of payloads. Definition: ../tables.py.

#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels.hpp"

namespace tersor {

// At least 57 bits from that one on; zeros behind the end.
inline std::uint64_t peek_bits(const std::uint8_t* data, std::size_t n, std::size_t at) {
  std::uint64_t word = 0;
  const std::size_t first = at / 8;
  if (first + 8 <= n) {
    std::memcpy(&word, data + first, 8);
  } else if (first < n) {
    std::memcpy(&word, data + first, n - first);
  }
  return word >> at % 8;
}

class BitReader {
 public:
  BitReader(const std::uint8_t* data, std::size_t n) : data_(data), n_(n) {}

  std::uint64_t get(unsigned bits) {  // up to 56
    std::uint64_t word = peek();
    at_ += bits;
    fine_ = fine_ && at_ <= 8 * n_;
    return word & ((std::uint64_t{1} << bits) - 1);
  }

  std::uint64_t get_size() {
    const auto bits = static_cast<unsigned>(get(6));
    const std::uint64_t low = get(std::min(bits, 32u));
    const std::uint64_t value = bits > 32 ? low | get(bits - 32) << 32 : low;
    fine_ = fine_ && static_cast<unsigned>(std::bit_width(value)) == bits;
    return value;
  }

  std::uint32_t get_gamma() {  // of up to 16 bits
    const auto rest = static_cast<unsigned>(std::countr_zero(peek() | std::uint64_t{1} << 16));
    fine_ = fine_ && rest < 16;
    get(rest + 1);
    return 1u << rest | static_cast<std::uint32_t>(get(rest));
  }

  // The next whole byte; what is left of this one must be zeros.
  bool end(std::size_t& byte) {
    const auto rest = static_cast<unsigned>((8 - at_ % 8) % 8);
    const bool clean = get(rest) == 0;
    byte = at_ / 8;
    return fine_ && clean;
  }

  // See read_levels().
  bool get_levels(unsigned most, std::uint8_t* levels) {
    const auto end = fine_ ? read_levels(data_, n_, at_, most, levels) : -1;
    fine_ = end >= 0;
    if (fine_) at_ = static_cast<std::size_t>(end);
    return fine_;
  }

  bool fine() const { return fine_; }
  void refuse() { fine_ = false; }

 private:
  std::uint64_t peek() const { return peek_bits(data_, n_, at_); }

  const std::uint8_t* data_;
  std::size_t n_, at_ = 0;
  bool fine_ = true;
};

class BitWriter {
 public:
  explicit BitWriter(std::vector<std::uint8_t>& out) : out_(out) {}

  void put(std::uint64_t value, unsigned bits) {  // up to 32
    word_ |= value << used_;
    for (used_ += bits; used_ >= 8; used_ -= 8) {
      out_.push_back(static_cast<std::uint8_t>(word_));
      word_ >>= 8;
    }
  }

  void put_size(std::uint64_t value) {
    const auto bits = static_cast<unsigned>(std::bit_width(value));
    put(bits, 6);
    put(value & 0xffffffff, std::min(bits, 32u));
    if (bits > 32) put(value >> 32, bits - 32);
  }

  void put_gamma(std::uint32_t value) {
    const auto rest = static_cast<unsigned>(std::bit_width(value)) - 1;
    put(std::uint64_t{1} << rest, rest + 1);
    put(value - (1u << rest), rest);
  }

  void end() {
    if (used_ > 0) out_.push_back(static_cast<std::uint8_t>(word_));
    word_ = used_ = 0;
  }

 private:
  std::vector<std::uint8_t>& out_;
  std::uint64_t word_ = 0;
  unsigned used_ = 0;
};

}  // namespace tersor
