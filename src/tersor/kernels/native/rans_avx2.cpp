// Rounds of rANS in AVX2: 8 lanes a vector. Equal to one_by_one() in rans.cpp.

#include <immintrin.h>

#include "kernels.hpp"
#include "word_order.hpp"

namespace tersor {
namespace {

template <bool wide>
inline __m256i step(const RansTable& table, __m256i& x, RansInput& in) {
  const __m256i mask = _mm256_set1_epi32((1 << table.bits) - 1);
  const __m256i slot = _mm256_and_si256(x, mask);
  const auto* entries = reinterpret_cast<const int*>(table.entries);
  const __m256i entry = _mm256_i32gather_epi32(entries, slot, 4);
  __m256i symbol, offset, f;
  if constexpr (wide) {
    symbol = _mm256_i32gather_epi32(reinterpret_cast<const int*>(table.symbols), slot, 1);
    offset = _mm256_and_si256(entry, _mm256_set1_epi32(0xffff));
    f = _mm256_srli_epi32(entry, 16);
  } else {
    symbol = entry;
    offset = _mm256_and_si256(_mm256_srli_epi32(entry, 8), _mm256_set1_epi32(0xfff));
    f = _mm256_srli_epi32(entry, 20);
  }
  const __m256i upper = _mm256_srl_epi32(x, _mm_cvtsi32_si128(static_cast<int>(table.bits)));
  x = _mm256_add_epi32(_mm256_mullo_epi32(f, upper), _mm256_add_epi32(upper, offset));

  const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), _mm256_setzero_si256());
  const auto taken = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(low)));
  const auto* from = reinterpret_cast<const __m128i*>(in.words + 2 * in.at);
  const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(from));
  const auto* which = reinterpret_cast<const __m256i*>(word_order[taken].data());
  const __m256i spread = _mm256_permutevar8x32_epi32(words, _mm256_loadu_si256(which));
  const __m256i filled = _mm256_or_si256(_mm256_slli_epi32(x, 16), spread);
  x = _mm256_blendv_epi8(x, filled, low);
  in.at += static_cast<std::size_t>(_mm_popcnt_u32(taken));
  return _mm256_and_si256(symbol, _mm256_set1_epi32(0xff));
}

template <unsigned lanes, bool wide>
std::size_t rounds(const RansTable& table, RansInput& in, std::uint32_t* states,
                   std::uint8_t* out, std::size_t n) {
  constexpr unsigned vectors = lanes / 8;
  __m256i x[vectors];
  for (unsigned v = 0; v < vectors; ++v) {
    x[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(states + 8 * v));
  }
  RansInput at = in;
  const __m256i unmix = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  std::size_t done = 0;
  for (; n - done >= lanes && at.at + lanes <= at.count; done += lanes) {
#pragma GCC unroll 2
    for (unsigned v = 0; v < vectors; v += 4) {
      const __m256i a = step<wide>(table, x[v], at);
      const __m256i b = step<wide>(table, x[v + 1], at);
      const __m256i c = step<wide>(table, x[v + 2], at);
      const __m256i d = step<wide>(table, x[v + 3], at);
      const __m256i low = _mm256_packus_epi32(a, b), high = _mm256_packus_epi32(c, d);
      const __m256i bytes = _mm256_packus_epi16(low, high);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + done + 8 * v),
                          _mm256_permutevar8x32_epi32(bytes, unmix));
    }
  }
  in = at;
  for (unsigned v = 0; v < vectors; ++v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(states + 8 * v), x[v]);
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
