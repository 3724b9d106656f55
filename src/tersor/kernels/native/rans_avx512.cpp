// Rounds of rANS in AVX-512: 16 lanes a vector. Equal to one_by_one() in rans.cpp.

#include <immintrin.h>

#include <array>
#include <cstring>

#include "kernels.hpp"

namespace tersor {
namespace {

template <unsigned lanes, bool wide>
struct Rounds {
  static constexpr unsigned vectors = lanes / 16, ahead = vectors > 2 && !wide;
  const RansTable& table;
  const __m512i mask = _mm512_set1_epi32((1 << table.bits) - 1);
  const __m128i bits = _mm_cvtsi32_si128(static_cast<int>(table.bits));

  // Loads instead of a gather, which takes longer on many processors. The symbols of a wide table are
  // written, too.
  __m512i look(const std::uint32_t* slots, std::uint8_t* out) const {
    const auto pair = [&](unsigned lane) {
      std::uint64_t both;
      std::memcpy(&both, slots + lane, sizeof both);
      const auto first = static_cast<std::uint32_t>(both);
      const std::uint64_t second = both >> 32;
      if constexpr (!wide) return std::array{table.entries[first], table.entries[second]};
      const std::uint8_t one = table.symbols[first], other = table.symbols[second];
      out[lane] = one;
      out[lane + 1] = other;
      return std::array{table.entries[one], table.entries[other]};
    };
    // Each four lanes anew, of which one group stays in its place.
    const auto four = [&](unsigned lane) {
      const auto [a, b] = pair(lane);
      const auto [c, d] = pair(lane + 2);
      const auto at = [](std::uint32_t entry) { return _mm_cvtsi32_si128(static_cast<int>(entry)); };
      __m512i found = _mm512_broadcastd_epi32(at(a));
      found = _mm512_mask_broadcastd_epi32(found, 0x2222, at(b));
      found = _mm512_mask_broadcastd_epi32(found, 0x4444, at(c));
      return _mm512_mask_broadcastd_epi32(found, 0x8888, at(d));
    };
    const __m512i low = four(0), lower = _mm512_mask_mov_epi32(low, 0x00f0, four(4));
    const __m512i high = four(8), upper = _mm512_mask_mov_epi32(high, 0xf000, four(12));
    return _mm512_mask_mov_epi32(lower, 0xff00, upper);
  }

  __m512i advance(__m512i x, __m512i entry, const std::uint8_t*& words, std::uint8_t* out) const {
    __m512i upper, offset, f;
    if constexpr (wide) {
      upper = _mm512_srl_epi32(x, bits);
      offset = _mm512_sub_epi32(_mm512_and_si512(x, mask), _mm512_and_si512(entry, _mm512_set1_epi32(0xffff)));
      f = _mm512_srli_epi32(entry, 16);
    } else {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(entry));
      upper = _mm512_srli_epi32(x, least_bits);
      offset = _mm512_add_epi32(upper, _mm512_and_si512(_mm512_srli_epi32(entry, 8), mask));
      f = _mm512_srli_epi32(entry, 20);
    }
    const __m512i now = _mm512_add_epi32(_mm512_mullo_epi32(f, upper), offset);
    const __mmask16 low = _mm512_cmplt_epu32_mask(now, _mm512_set1_epi32(lowest_state));
    const __m256i next = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
    const __m512i spread = _mm512_maskz_expand_epi32(low, _mm512_cvtepu16_epi32(next));
    words += 2 * static_cast<std::size_t>(_mm_popcnt_u64(low));
    return _mm512_mask_or_epi32(now, low, _mm512_slli_epi32(now, 16), spread);
  }

  // Entries of one vector are looked up while another advances.
  std::size_t run(RansInput& in, std::uint32_t* states, std::uint8_t* out, std::size_t n) const {
    __m512i x[vectors], entry[vectors];
    alignas(64) std::uint32_t slots[lanes];
    const auto put = [&](unsigned v) { _mm512_store_si512(slots + 16 * v, _mm512_and_si512(x[v], mask)); };
    for (unsigned v = 0; v < vectors; ++v) {
      x[v] = _mm512_loadu_si512(states + 16 * v);
      put(v);
    }
    const std::uint8_t *words = in.words + 2 * in.at, *end = in.words + 2 * in.count;
    std::size_t done = 0;
    const auto more = [&] { return n - done >= lanes && end - words >= std::ptrdiff_t{2 * lanes}; };
    if (ahead > 0 && more()) entry[0] = look(slots, out);
    for (; more(); done += lanes) {
#pragma GCC unroll 4
      for (unsigned v = 0; v < vectors; ++v) {
        const unsigned next = (v + ahead) % vectors;
        const std::size_t place = done + 16 * (v + ahead);
        entry[next] = look(slots + 16 * next, out + place);
        x[v] = advance(x[v], entry[v], words, out + done + 16 * v);
        put(v);
      }
    }
    in.at = static_cast<std::size_t>(words - in.words) / 2;
    for (unsigned v = 0; v < vectors; ++v) _mm512_storeu_si512(states + 16 * v, x[v]);
    return done;
  }
};

template <unsigned lanes, bool wide>
std::size_t rounds(const RansTable& table, RansInput& in, std::uint32_t* states, std::uint8_t* out,
                   std::size_t n) {
  return Rounds<lanes, wide>{table}.run(in, states, out, n);
}

}  // namespace

RansRounds rans_rounds_avx512(unsigned lanes, bool wide) {
  if (lanes == 16) return wide ? rounds<16, true> : rounds<16, false>;
  if (lanes == 32) return wide ? rounds<32, true> : rounds<32, false>;
  if (lanes == 64) return wide ? rounds<64, true> : rounds<64, false>;
  return nullptr;
}

}  // namespace tersor
