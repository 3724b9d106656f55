// Rounds of rANS in AVX2: 8 lanes a vector. Equal to one_by_one() in rans.cpp.

#include <immintrin.h>

#include "kernels.hpp"
#include "word_order.hpp"

namespace tersor {
namespace {

template <unsigned lanes, bool wide>
struct Rounds {
  static constexpr unsigned vectors = lanes / 8;
  const RansTable& table;
  const __m256i mask = _mm256_set1_epi32((1 << table.bits) - 1);
  const __m128i bits = _mm_cvtsi32_si128(static_cast<int>(table.bits));

  // Loads instead of a gather, which takes longer on many processors. The symbols of a wide table are
  // written, too.
  __m256i look(const std::uint32_t* slots, std::uint8_t* out) const {
    const auto at = [&](unsigned lane) {
      if constexpr (!wide) return static_cast<int>(table.entries[slots[lane]]);
      out[lane] = table.symbols[slots[lane]];
      return static_cast<int>(table.entries[out[lane]]);
    };
    return _mm256_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
  }

  __m256i advance(__m256i x, __m256i entry, const std::uint8_t*& words) const {
    __m256i upper, offset, f;
    if constexpr (wide) {
      upper = _mm256_srl_epi32(x, bits);
      offset = _mm256_sub_epi32(_mm256_and_si256(x, mask), _mm256_and_si256(entry, _mm256_set1_epi32(0xffff)));
      f = _mm256_srli_epi32(entry, 16);
    } else {
      upper = _mm256_srli_epi32(x, least_bits);
      offset = _mm256_add_epi32(upper, _mm256_and_si256(_mm256_srli_epi32(entry, 8), mask));
      f = _mm256_srli_epi32(entry, 20);
    }
    const __m256i now = _mm256_add_epi32(_mm256_mullo_epi32(f, upper), offset);
    const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(now, 16), _mm256_setzero_si256());
    const auto taken = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(low)));
    const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(words));
    const auto* which = reinterpret_cast<const __m256i*>(word_order[taken].data());
    const __m256i spread = _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(next), _mm256_loadu_si256(which));
    words += 2 * static_cast<std::size_t>(_mm_popcnt_u64(taken));
    return _mm256_blendv_epi8(now, _mm256_or_si256(_mm256_slli_epi32(now, 16), spread), low);
  }

  static void write(const __m256i (&entry)[4], std::uint8_t* out) {
    const __m256i byte = _mm256_set1_epi32(0xff), unmix = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const auto pair = [&](unsigned v) {
      return _mm256_packus_epi32(_mm256_and_si256(entry[v], byte), _mm256_and_si256(entry[v + 1], byte));
    };
    const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(pair(0), pair(2)), unmix);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), bytes);
  }

  std::size_t run(RansInput& in, std::uint32_t* states, std::uint8_t* out, std::size_t n) const {
    __m256i x[vectors];
    alignas(32) std::uint32_t slots[lanes];
    const auto put = [&](unsigned v) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(slots + 8 * v), _mm256_and_si256(x[v], mask));
    };
    for (unsigned v = 0; v < vectors; ++v) {
      x[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(states + 8 * v));
      put(v);
    }
    const std::uint8_t *words = in.words + 2 * in.at, *end = in.words + 2 * in.count;
    std::size_t done = 0;
    for (; n - done >= lanes && end - words >= std::ptrdiff_t{2 * lanes}; done += lanes) {
#pragma GCC unroll 2
      for (unsigned first = 0; first < vectors; first += 4) {
        __m256i entry[4];
#pragma GCC unroll 4
        for (unsigned i = 0; i < 4; ++i) {
          const unsigned v = first + i;
          entry[i] = look(slots + 8 * v, out + done + 8 * v);
          x[v] = advance(x[v], entry[i], words);
          put(v);
        }
        if constexpr (!wide) write(entry, out + done + 8 * first);
      }
    }
    in.at = static_cast<std::size_t>(words - in.words) / 2;
    for (unsigned v = 0; v < vectors; ++v) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(states + 8 * v), x[v]);
    }
    return done;
  }
};

template <unsigned lanes, bool wide>
std::size_t rounds(const RansTable& table, RansInput& in, std::uint32_t* states, std::uint8_t* out,
                   std::size_t n) {
  return Rounds<lanes, wide>{table}.run(in, states, out, n);
}

}  // namespace

RansRounds rans_rounds_avx2(unsigned lanes, bool wide) {
  if (lanes == 32) return wide ? rounds<32, true> : rounds<32, false>;
  if (lanes == 64) return wide ? rounds<64, true> : rounds<64, false>;
  return nullptr;
}

}  // namespace tersor
