// Rounds of rANS in AVX-512: 16 lanes a vector. Equal to one_by_one() in rans.cpp.

#include <immintrin.h>

#include "kernels.hpp"

namespace tersor {
namespace {

template <bool wide>
inline __m128i step(const RansTable& table, __m512i& x, RansInput& in) {
  const __m512i mask = _mm512_set1_epi32((1 << table.bits) - 1);
  const __m512i slot = _mm512_and_si512(x, mask);
  const __m512i entry = _mm512_i32gather_epi32(slot, table.entries, 4);
  __m512i symbol, offset, f;
  if constexpr (wide) {
    symbol = _mm512_i32gather_epi32(slot, table.symbols, 1);
    offset = _mm512_and_si512(entry, _mm512_set1_epi32(0xffff));
    f = _mm512_srli_epi32(entry, 16);
  } else {
    symbol = entry;
    offset = _mm512_and_si512(_mm512_srli_epi32(entry, 8), _mm512_set1_epi32(0xfff));
    f = _mm512_srli_epi32(entry, 20);
  }
  const __m512i upper = _mm512_srl_epi32(x, _mm_cvtsi32_si128(static_cast<int>(table.bits)));
  x = _mm512_add_epi32(_mm512_mullo_epi32(f, upper), _mm512_add_epi32(upper, offset));

  const __mmask16 low = _mm512_cmplt_epu32_mask(x, _mm512_set1_epi32(lowest_state));
  const auto* from = reinterpret_cast<const __m256i*>(in.words + 2 * in.at);
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from));
  const __m512i spread = _mm512_maskz_expand_epi32(low, words);
  x = _mm512_mask_or_epi32(x, low, _mm512_slli_epi32(x, 16), spread);
  in.at += static_cast<std::size_t>(_mm_popcnt_u32(low));
  return _mm512_cvtepi32_epi8(symbol);
}

template <unsigned lanes, bool wide>
std::size_t rounds(const RansTable& table, RansInput& in, std::uint32_t* states,
                   std::uint8_t* out, std::size_t n) {
  constexpr unsigned vectors = lanes / 16;
  __m512i x[vectors];
  for (unsigned v = 0; v < vectors; ++v) x[v] = _mm512_loadu_si512(states + 16 * v);
  RansInput at = in;
  std::size_t done = 0;
  for (; n - done >= lanes && at.at + lanes <= at.count; done += lanes) {
#pragma GCC unroll 4
    for (unsigned v = 0; v < vectors; ++v) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + done + 16 * v),
                       step<wide>(table, x[v], at));
    }
  }
  in = at;
  for (unsigned v = 0; v < vectors; ++v) _mm512_storeu_si512(states + 16 * v, x[v]);
  return done;
}

}  // namespace

RansRounds rans_rounds_avx512(unsigned lanes, bool wide) {
  if (lanes == 32) return wide ? rounds<32, true> : rounds<32, false>;
  if (lanes == 64) return wide ? rounds<64, true> : rounds<64, false>;
  return nullptr;
}

}  // namespace tersor
