// Codes of 1 .. 16 bits, packed from the low bit of each byte up.
// Definition: reference.py, pack_bits() and unpack_bits().

#include <cstring>

#include "kernels.hpp"

namespace tersor {

void pack_bits(const std::uint16_t* codes, std::size_t n, unsigned bits, std::uint8_t* packed) {
  std::uint64_t buffer = 0;
  unsigned held = 0;
  for (std::size_t i = 0; i < n; ++i) {
    buffer |= std::uint64_t{codes[i]} << held;
    held += bits;
    if (held >= 32) {
      const auto low = static_cast<std::uint32_t>(buffer);
      std::memcpy(packed, &low, 4);
      packed += 4;
      buffer >>= 32;
      held -= 32;
    }
  }
  for (; held > 0; held -= held < 8 ? held : 8, buffer >>= 8) {
    *packed++ = static_cast<std::uint8_t>(buffer);
  }
}

void unpack_bits(const std::uint8_t* packed, std::size_t n, unsigned bits, std::uint16_t* codes) {
  const std::size_t size = (n * bits + 7) / 8;
  const auto mask = static_cast<std::uint32_t>((1u << bits) - 1);
  std::size_t i = 0;
  for (; i < n && i * bits / 8 + 4 <= size; ++i) {  // a code lies within 4 bytes
    std::uint32_t four;
    std::memcpy(&four, packed + i * bits / 8, 4);
    codes[i] = static_cast<std::uint16_t>(four >> (i * bits % 8) & mask);
  }
  for (; i < n; ++i) {
    std::uint32_t four = 0;
    const std::size_t from = i * bits / 8;
    std::memcpy(&four, packed + from, size - from < 4 ? size - from : 4);
    codes[i] = static_cast<std::uint16_t>(four >> (i * bits % 8) & mask);
  }
}

}  // namespace tersor
