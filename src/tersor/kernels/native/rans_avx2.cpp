// Rounds of rANS in AVX2: 8 lanes a vector. Equal to one_by_one() in rans.cpp.

#include <immintrin.h>

#include "kernels.hpp"
#include "word_order.hpp"

namespace tersor {
namespace {

// Lanes whose entries are looked up, then used, as in rans_avx512.cpp.
template <bool wide>
struct Group {
  __m256i x[4], entry[4], symbol[4];

  void look(const RansTable& table) {
    const __m256i mask = _mm256_set1_epi32((1 << table.bits) - 1);
    const auto *entries = reinterpret_cast<const int*>(table.entries), *symbols = reinterpret_cast<const int*>(table.symbols);
#pragma GCC unroll 4
    for (unsigned v = 0; v < 4; ++v) {
      const __m256i slot = _mm256_and_si256(x[v], mask);
      entry[v] = _mm256_i32gather_epi32(entries, slot, 4);
      symbol[v] = wide ? _mm256_i32gather_epi32(symbols, slot, 1) : entry[v];
    }
  }

  void advance(const RansTable& table, const std::uint8_t*& words, std::uint8_t* out) {
    const __m256i byte = _mm256_set1_epi32(0xff), unmix = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const auto pair = [&](unsigned v) {
      return _mm256_packus_epi32(_mm256_and_si256(symbol[v], byte), _mm256_and_si256(symbol[v + 1], byte));
    };
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(pair(0), pair(2)), unmix);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
#pragma GCC unroll 4
    for (unsigned v = 0; v < 4; ++v) {
      const __m256i offset = wide ? entry[v] : _mm256_srli_epi32(entry[v], 8);
      const __m256i f = _mm256_srli_epi32(entry[v], wide ? 16 : 20);
      const __m256i upper = _mm256_srl_epi32(x[v], _mm_cvtsi32_si128(static_cast<int>(table.bits)));
      const __m256i rest =
          _mm256_add_epi32(upper, _mm256_and_si256(offset, _mm256_set1_epi32(wide ? 0xffff : 0xfff)));
      const __m256i now = _mm256_add_epi32(_mm256_mullo_epi32(f, upper), rest);

      const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(now, 16), _mm256_setzero_si256());
      const auto taken = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(low)));
      const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(words));
      const auto* which = reinterpret_cast<const __m256i*>(word_order[taken].data());
      const __m256i spread = _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(next), _mm256_loadu_si256(which));
      const __m256i filled = _mm256_or_si256(_mm256_slli_epi32(now, 16), spread);
      x[v] = _mm256_blendv_epi8(now, filled, low);
      words += 2 * _mm_popcnt_u32(taken);
    }
  }
};

template <unsigned lanes, bool wide>
std::size_t rounds(const RansTable& table, RansInput& in, std::uint32_t* states,
                   std::uint8_t* out, std::size_t n) {
  constexpr unsigned groups = lanes / 32;
  Group<wide> group[groups];
  for (unsigned v = 0; v < lanes / 8; ++v) {
    group[v / 4].x[v % 4] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(states + 8 * v));
  }
  const std::uint8_t *words = in.words + 2 * in.at, *end = in.words + 2 * in.count;
  std::size_t done = 0;
  for (; n - done >= lanes && end - words >= std::ptrdiff_t{2 * lanes}; done += lanes) {
#pragma GCC unroll 2
    for (unsigned g = 0; g < groups; ++g) {
      group[g].look(table);
      group[g].advance(table, words, out + done + 32 * g);
    }
  }
  in.at = static_cast<std::size_t>(words - in.words) / 2;
  for (unsigned v = 0; v < lanes / 8; ++v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(states + 8 * v), group[v / 4].x[v % 4]);
  }
  return done;
}

}  // namespace

RansRounds rans_rounds_avx2(unsigned lanes, bool wide) {
  if (lanes == 32) return wide ? rounds<32, true> : rounds<32, false>;
  if (lanes == 64) return wide ? rounds<64, true> : rounds<64, false>;
  return nullptr;
}

}  // namespace tersor
