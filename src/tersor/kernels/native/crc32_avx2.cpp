// The checksum CRC-32 of zlib, sixteen bytes at a time, by products without carries.
//
// Source: Gopal et al., "Fast CRC computation for generic polynomials using PCLMULQDQ instruction", Intel, 2009.

#include <immintrin.h>

#include <array>

#include "kernels.hpp"

namespace tersor {
namespace {

using u64 = std::uint64_t;
constexpr std::uint32_t polynomial = 0xedb88320;  // the highest power in the lowest bit

// One bit more of the message.
constexpr std::uint32_t next(std::uint32_t rest) { return rest >> 1 ^ (polynomial & (0u - (rest & 1))); }

constexpr auto by_byte = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    table[byte] = byte;
    for (int bit = 0; bit < 8; ++bit) table[byte] = next(table[byte]);
  }
  return table;
}();

// x^n, reduced; times x, because a product of mirrored numbers is one bit off.
constexpr u64 power(int n) {
  std::uint32_t rest = 1u << 31;
  for (int i = 0; i < n; ++i) rest = next(rest);
  return u64{rest} << 1;
}

// What brings a vector on by so many bits.
inline __m128i by(u64 first, u64 second) {
  return _mm_set_epi64x(static_cast<long long>(second), static_cast<long long>(first));
}
constexpr int bits = 128, many = 4;
constexpr u64 one_first = power(bits + 32), one_second = power(bits - 32);
constexpr u64 many_first = power(many * bits + 32), many_second = power(many * bits - 32);

inline __m128i folded(__m128i x, __m128i factors, __m128i more) {
  const __m128i first = _mm_clmulepi64_si128(x, factors, 0x00), second = _mm_clmulepi64_si128(x, factors, 0x11);
  return _mm_xor_si128(_mm_xor_si128(first, second), more);
}

inline __m128i load(const std::uint8_t* data) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(data)); }

std::uint32_t bytewise(std::uint32_t rest, const std::uint8_t* data, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) rest = rest >> 8 ^ by_byte[(rest ^ data[i]) & 0xff];
  return rest;
}

}  // namespace

std::uint32_t crc32_avx2(const std::uint8_t* data, std::size_t n, std::uint32_t before) {
  constexpr std::size_t each = 16, step = each * many;
  std::uint32_t rest = ~before;
  if (n >= step) {
    __m128i x[many];
    for (int i = 0; i < many; ++i) x[i] = load(data + each * static_cast<std::size_t>(i));
    x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128(static_cast<int>(rest)));
    const __m128i far = by(many_first, many_second), near = by(one_first, one_second);
    for (data += step, n -= step; n >= step; data += step, n -= step) {
      for (int i = 0; i < many; ++i) x[i] = folded(x[i], far, load(data + each * static_cast<std::size_t>(i)));
    }
    for (int i = 1; i < many; ++i) x[i] = folded(x[i - 1], near, x[i]);
    std::uint8_t last[each];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(last), x[many - 1]);
    rest = bytewise(0, last, each);
  }
  return ~bytewise(rest, data, n);
}

}  // namespace tersor
