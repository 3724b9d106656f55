// Rounds of rANS in AVX-512: 16 lanes a vector. Equal to one_by_one() in rans.cpp.

#include <immintrin.h>

#include "kernels.hpp"

namespace tersor {
namespace {

// Lanes whose entries are looked up, then used: many processors let a gather wait for all that is before
// it, so one group is gathered while the other computes.
template <unsigned vectors, bool wide>
struct Group {
  __m512i x[vectors], entry[vectors], symbol[vectors];

  void look(const RansTable& table) {
    const __m512i mask = _mm512_set1_epi32((1 << table.bits) - 1);
#pragma GCC unroll 2
    for (unsigned v = 0; v < vectors; ++v) {
      const __m512i slot = _mm512_and_si512(x[v], mask);
      entry[v] = _mm512_i32gather_epi32(slot, table.entries, 4);
      symbol[v] = wide ? _mm512_i32gather_epi32(slot, table.symbols, 1) : entry[v];
    }
  }

  void advance(const RansTable& table, const std::uint8_t*& words, std::uint8_t* out) {
#pragma GCC unroll 2
    for (unsigned v = 0; v < vectors; ++v) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16 * v), _mm512_cvtepi32_epi8(symbol[v]));
      const __m512i offset = wide ? entry[v] : _mm512_srli_epi32(entry[v], 8);
      const __m512i f = _mm512_srli_epi32(entry[v], wide ? 16 : 20);
      const __m512i upper = _mm512_srl_epi32(x[v], _mm_cvtsi32_si128(static_cast<int>(table.bits)));
      const __m512i rest =
          _mm512_add_epi32(upper, _mm512_and_si512(offset, _mm512_set1_epi32(wide ? 0xffff : 0xfff)));
      const __m512i now = _mm512_add_epi32(_mm512_mullo_epi32(f, upper), rest);

      const __mmask16 low = _mm512_cmplt_epu32_mask(now, _mm512_set1_epi32(lowest_state));
      const __m256i next = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
      const __m512i spread = _mm512_maskz_expand_epi32(low, _mm512_cvtepu16_epi32(next));
      x[v] = _mm512_mask_or_epi32(now, low, _mm512_slli_epi32(now, 16), spread);
      words += 2 * _mm_popcnt_u32(low);
    }
  }
};

template <unsigned lanes, bool wide>
std::size_t rounds(const RansTable& table, RansInput& in, std::uint32_t* states,
                   std::uint8_t* out, std::size_t n) {
  constexpr unsigned first = lanes > 16 ? lanes / 32 : 1, second = lanes / 16 - first;
  Group<first, wide> a;
  Group<second, wide> b;
  for (unsigned v = 0; v < first; ++v) a.x[v] = _mm512_loadu_si512(states + 16 * v);
  for (unsigned v = 0; v < second; ++v) b.x[v] = _mm512_loadu_si512(states + 16 * (first + v));
  const std::uint8_t *words = in.words + 2 * in.at, *end = in.words + 2 * in.count;
  std::size_t done = 0;
  a.look(table);
  for (; n - done >= lanes && end - words >= std::ptrdiff_t{2 * lanes}; done += lanes) {
    b.look(table);
    a.advance(table, words, out + done);
    a.look(table);
    b.advance(table, words, out + done + 16 * first);
  }
  in.at = static_cast<std::size_t>(words - in.words) / 2;
  for (unsigned v = 0; v < first; ++v) _mm512_storeu_si512(states + 16 * v, a.x[v]);
  for (unsigned v = 0; v < second; ++v) _mm512_storeu_si512(states + 16 * (first + v), b.x[v]);
  return done;
}

}  // namespace

RansRounds rans_rounds_avx512(unsigned lanes, bool wide) {
  if (lanes == 16) return wide ? rounds<16, true> : rounds<16, false>;
  if (lanes == 32) return wide ? rounds<32, true> : rounds<32, false>;
  if (lanes == 64) return wide ? rounds<64, true> : rounds<64, false>;
  return nullptr;
}

}  // namespace tersor
