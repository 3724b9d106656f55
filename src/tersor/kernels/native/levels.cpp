// Tables of levels. Definition: BitReader in ../tables.py.

#include <algorithm>

#include "bit_stream.hpp"

namespace tersor {
namespace {

constexpr std::size_t symbols = 256;

}  // namespace

std::ptrdiff_t read_levels(const std::uint8_t* data, std::size_t n, std::size_t at, unsigned most,
                           std::uint8_t* levels) {
  const int bits = static_cast<int>(std::bit_width(most - 1));
  std::size_t found = 0;
  int last = 0;
  while (found < symbols) {
    std::uint64_t ahead = peek_bits(data, n, at);
    const int rest = std::countr_zero(ahead);
    if (rest >= 16) return -1;
    ahead >>= rest + 1;
    const auto code = static_cast<unsigned>((1u << rest | (ahead & ((1u << rest) - 1))) - 1);
    at += static_cast<std::size_t>(2 * rest + 1);
    if (last == 0) {
      if (found + code > symbols) return -1;
      std::fill_n(levels + found, code, std::uint8_t{0});
      found += code;
      if (found == symbols) break;
      last = static_cast<int>(ahead >> rest & ((1u << bits) - 1)) + 1;
      at += static_cast<std::size_t>(bits);
    } else {
      const int half = static_cast<int>((code + 1) / 2);
      last += code % 2 == 1 ? half : -half;
    }
    if (at > 8 * n || last < 0 || last > static_cast<int>(most)) return -1;
    levels[found++] = static_cast<std::uint8_t>(last);
  }
  return at > 8 * n ? -1 : static_cast<std::ptrdiff_t>(at);
}

}  // namespace tersor
