// Canonical Huffman codes. Definition: reference.py, huffman_encode() and huffman_decode().

#include <cstring>

#include "kernels.hpp"

namespace tersor {
namespace {

// The code of each symbol, turned so that its earlier bit is the lower one.
void canonical(const std::uint8_t* lengths, std::uint16_t* codes) {
  std::uint32_t code = 0;
  for (unsigned length = 1; length <= most_code_bits; ++length, code <<= 1) {
    for (unsigned s = 0; s < 256; ++s) {
      if (lengths[s] != length) continue;
      std::uint32_t turned = 0;
      for (unsigned bit = 0; bit < length; ++bit) turned |= (code >> bit & 1) << (length - 1 - bit);
      codes[s] = static_cast<std::uint16_t>(turned);
      ++code;
    }
  }
}

}  // namespace

std::ptrdiff_t huffman_encode(const std::uint8_t* symbols, std::size_t n,
                              const std::uint8_t* lengths, std::uint8_t* bytes) {
  std::uint16_t codes[256] = {};
  canonical(lengths, codes);
  std::uint64_t buffer = 0;
  unsigned held = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const unsigned length = lengths[symbols[i]];
    if (length == 0) return -1;
    buffer |= std::uint64_t{codes[symbols[i]]} << held;
    held += length;
    if (held >= 32) {
      const auto low = static_cast<std::uint32_t>(buffer);
      std::memcpy(bytes + at, &low, 4);
      at += 4;
      buffer >>= 32;
      held -= 32;
    }
  }
  for (; held > 0; held -= held < 8 ? held : 8, buffer >>= 8) {
    bytes[at++] = static_cast<std::uint8_t>(buffer);
  }
  return static_cast<std::ptrdiff_t>(at);
}

bool huffman_decode(const std::uint8_t* bytes, std::size_t n_bytes, const std::uint8_t* lengths,
                    std::uint8_t* out, std::size_t n) {
  constexpr unsigned slots = 1u << most_code_bits;
  std::uint16_t codes[256] = {}, table[slots] = {};  // symbol | length << 8; 0: no code
  canonical(lengths, codes);
  for (unsigned s = 0; s < 256; ++s) {
    if (lengths[s] == 0) continue;
    const auto entry = static_cast<std::uint16_t>(s | lengths[s] << 8);
    for (unsigned slot = codes[s]; slot < slots; slot += 1u << lengths[s]) table[slot] = entry;
  }
  std::uint64_t buffer = 0;
  unsigned held = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (held < most_code_bits) {
      if (n_bytes - at >= 4) {
        std::uint32_t four;
        std::memcpy(&four, bytes + at, 4);
        buffer |= std::uint64_t{four} << held;
        at += 4;
        held += 32;
      } else {
        for (; at < n_bytes; held += 8) buffer |= std::uint64_t{bytes[at++]} << held;
      }
    }
    const unsigned entry = table[buffer & (slots - 1)], length = entry >> 8;
    if (length == 0 || length > held) return false;
    out[i] = static_cast<std::uint8_t>(entry);
    buffer >>= length;
    held -= length;
  }
  return at == n_bytes && held < 8 && buffer == 0;
}

}  // namespace tersor
