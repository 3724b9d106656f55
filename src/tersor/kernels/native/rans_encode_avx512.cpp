// Rounds of rANS, written, in AVX-512: 16 lanes a vector. Equal to Writer::put() in rans.cpp.

#include <immintrin.h>

#include "kernels.hpp"

namespace tersor {
namespace {

constexpr int down = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;

// y / f, rounded down, or one less: y < f * 2^20, and two roundings take 2^-22 of the quotient at most.
inline __m512i about(__m512i y, __m512i f) {
  const __m512 quotient = _mm512_div_round_ps(_mm512_cvt_roundepu32_ps(y, down), _mm512_cvtepi32_ps(f), down);
  return _mm512_cvttps_epu32(quotient);
}

// The words of 16 lanes, in order, before those that are there.
inline __m512i write(__m512i x, __m512i entry, unsigned bits, std::uint16_t*& words) {
  const __m512i one = _mm512_set1_epi32(1), shift = _mm512_set1_epi32(static_cast<int>(bits));
  const __m512i f = _mm512_srli_epi32(entry, 16), start = _mm512_and_si512(entry, _mm512_set1_epi32(0xffff));
  const __m512i limit = _mm512_sub_epi32(_mm512_sllv_epi32(f, _mm512_sub_epi32(_mm512_set1_epi32(32), shift)), one);
  const __mmask16 large = _mm512_cmpgt_epu32_mask(x, limit);
  const auto count = static_cast<unsigned>(_mm_popcnt_u32(large));
  words -= count;
  const __m256i low = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(large, x));
  _mm256_mask_storeu_epi16(words, static_cast<__mmask16>((1u << count) - 1), low);

  const __m512i y = _mm512_mask_srli_epi32(x, large, x, 16), quotient = about(y, f);
  const __m512i rest = _mm512_sub_epi32(y, _mm512_mullo_epi32(quotient, f));
  const __m512i next = _mm512_add_epi32(_mm512_add_epi32(_mm512_sllv_epi32(quotient, shift), rest), start);
  const __m512i more = _mm512_sub_epi32(_mm512_sllv_epi32(one, shift), f);
  return _mm512_mask_add_epi32(next, _mm512_cmpge_epu32_mask(rest, f), next, more);
}

// The entries of a round are gathered before the round behind it is written: see rans_avx512.cpp.
template <unsigned lanes>
bool rounds(const std::uint32_t* entries, unsigned bits, const std::uint8_t* symbols, std::size_t n,
            std::uint32_t* states, std::uint16_t*& words) {
  constexpr unsigned vectors = lanes / 16;
  __m512i x[vectors], entry[vectors], least = _mm512_set1_epi32(-1);
  const auto look = [&](std::size_t at) {
#pragma GCC unroll 4
    for (unsigned v = 0; v < vectors; ++v) {
      const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(symbols + at + 16 * v));
      entry[v] = _mm512_i32gather_epi32(_mm512_cvtepu8_epi32(some), entries, 4);
      least = _mm512_min_epu32(least, entry[v]);
    }
  };
  for (unsigned v = 0; v < vectors; ++v) x[v] = _mm512_loadu_si512(states + 16 * v);
  if (n > 0) look(n - lanes);
  for (std::size_t at = n; at > 0; at -= lanes) {
    __m512i now[vectors];
    for (unsigned v = 0; v < vectors; ++v) now[v] = entry[v];
    if (at > lanes) look(at - 2 * lanes);
#pragma GCC unroll 4
    for (unsigned i = 1; i <= vectors; ++i) x[vectors - i] = write(x[vectors - i], now[vectors - i], bits, words);
  }
  for (unsigned v = 0; v < vectors; ++v) _mm512_storeu_si512(states + 16 * v, x[v]);
  return _mm512_cmplt_epu32_mask(least, _mm512_set1_epi32(1 << 16)) == 0;
}

}  // namespace

RansWriting rans_writing_avx512(unsigned lanes) {
  if (lanes == 16) return rounds<16>;
  if (lanes == 32) return rounds<32>;
  if (lanes == 64) return rounds<64>;
  return nullptr;
}

}  // namespace tersor
