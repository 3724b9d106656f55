// Chunks of the lanes coder in vectors of eight rows: with AVX2, or with AVX-512, where that is shorter.
// Equal to Player in lanes.cpp. Included once by what is compiled for each.

#pragma once

#include <immintrin.h>

#include <algorithm>

#include "lanes.hpp"
#include "word_order.hpp"

namespace tersor::lanes {
namespace {

inline __m256i all(int value) { return _mm256_set1_epi32(value); }
inline __m256i wide(const u8* kinds) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kinds)));
}
inline __m128i narrow(__m256i x) {
  return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}
inline unsigned bits_of(__m256i mask) {
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(mask)));
}

// Eight loads, which took less time than a gather where both were measured.
inline __m256i look_up(const u32* from, const u32* places) {
  const auto at = [&](int lane) { return static_cast<int>(from[places[lane]]); };
  return _mm256_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
}

inline __m256i look_up(const u32* from, __m256i places) {
  alignas(32) u32 each[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(each), places);
  return look_up(from, each);
}

// Logarithms of means of eight totals below 2^32: see logarithm() and mean_of(). A float holds both the length
// of a number and the three bits below the highest; below 8, where there are fewer, the number counts.
inline __m256i logarithms_of(const u64* totals, u64 inverse, int shift) {
  const __m256i low = _mm256_set1_epi64x(static_cast<long long>(inverse & 0xffffffff));
  const __m256i high = _mm256_set1_epi64x(static_cast<long long>(inverse >> 32));
  const auto mean = [&](const u64* from) {
    const __m256i total = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    const __m256i rest = _mm256_srli_epi64(_mm256_mul_epu32(total, low), 32);
    const __m256i whole = _mm256_add_epi64(_mm256_mul_epu32(total, high), rest);
    return _mm256_srl_epi64(whole, _mm_cvtsi32_si128(shift));
  };
  const __m256i even = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
  const __m256i first = _mm256_permutevar8x32_epi32(mean(totals), even);
  const __m256i second = _mm256_permutevar8x32_epi32(mean(totals + 4), even);
  const __m256i number = _mm256_add_epi32(_mm256_blend_epi32(first, second, 0xf0), all(4));
  const __m256i bits = _mm256_srli_epi32(_mm256_castps_si256(_mm256_cvtepi32_ps(number)), 20);
  const __m256i small = _mm256_add_epi32(_mm256_min_epi32(number, all(7)), all(16));
  return _mm256_max_epi32(_mm256_sub_epi32(bits, all(8 * 127)), small);
}

inline void all_logarithms(const u64* sums, std::size_t n, u64 inverse, int* out) {
  for (; n >= 8; n -= 8, sums += 8, out += 8) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), logarithms_of(sums, inverse, 0));
  }
  if (n == 0) return;
  u64 some[8] = {};
  int found[8];
  std::copy_n(sums, n, some);
  all_logarithms(some, 8, inverse, found);
  std::copy_n(found, n, out);
}

inline void add(u64* totals, __m128i sums) {
  auto* place = reinterpret_cast<__m256i*>(totals);
  const __m256i more = _mm256_slli_epi64(_mm256_cvtepu32_epi64(sums), 8);
  _mm256_storeu_si256(place, _mm256_add_epi64(_mm256_loadu_si256(place), more));
}

// The first elements where a bit of the mask is set; elsewhere anything.
inline __m256i spread(unsigned mask, __m256i from) {
#ifdef __AVX512VL__
  return _mm256_maskz_expand_epi32(static_cast<__mmask8>(mask), from);
#else
  const auto* which = reinterpret_cast<const __m256i*>(word_order[mask].data());
  return _mm256_permutevar8x32_epi32(from, _mm256_loadu_si256(which));
#endif
}

// The reverse.
inline __m256i packed(unsigned mask, __m256i from) {
#ifdef __AVX512VL__
  return _mm256_maskz_compress_epi32(static_cast<__mmask8>(mask), from);
#else
  const auto* which = reinterpret_cast<const __m256i*>(packed_order[mask].data());
  return _mm256_permutevar8x32_epi32(from, _mm256_loadu_si256(which));
#endif
}

// States below 2^16 take a word.
inline __m256i fill(__m256i x, Stream& in) {
  const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in.words)));
  const __m256i shifted = _mm256_slli_epi32(x, 16);
#ifdef __AVX512VL__
  const __mmask8 low = _mm256_cmplt_epu32_mask(x, all(lowest_state));
  const unsigned taken = low;
  const __m256i filled = _mm256_mask_or_epi32(x, low, shifted, _mm256_maskz_expand_epi32(low, words));
#else
  const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), _mm256_setzero_si256());
  const unsigned taken = bits_of(low);
  const __m256i filled = _mm256_blendv_epi8(x, _mm256_or_si256(shifted, spread(taken, words)), low);
#endif
  const auto count = static_cast<std::ptrdiff_t>(_mm_popcnt_u64(taken));
  in.words += 2 * count;
  in.left -= count;
  return filled;
}

// Columns of eight values as rows, and the sums of their magnitudes.
inline void put(const __m128i (&columns)[step], const Chunk& chunk) {
  __m128i a[8], b[8];
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = _mm_unpacklo_epi16(columns[i], columns[i + 4]);
    a[2 * i + 1] = _mm_unpackhi_epi16(columns[i], columns[i + 4]);
  }
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
    b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
  }
  __m128i sums = _mm_setzero_si128();
  for (int lane = 0; lane < 8; ++lane) {
    const __m128i low = b[lane / 2], high = b[lane / 2 + 4];
    const __m128i row = lane % 2 == 0 ? _mm_unpacklo_epi16(low, high) : _mm_unpackhi_epi16(low, high);
    sums = _mm_add_epi16(sums, _mm_abs_epi16(row));
    auto* to = chunk.values + static_cast<std::size_t>(lane) * chunk.width + chunk.first;
    if (chunk.count == step) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), row);
    } else {
      std::memcpy(to, &row, 2 * chunk.count);
    }
  }
  std::uint16_t each[step];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(each), sums);
  for (std::size_t i = 0; i < chunk.count; ++i) chunk.column_sums[chunk.first + i] += each[i];
}

// Bounds of eight contexts whose neighbour beside is 0, positive or negative: three in a row for each.
struct Nearby {
  __m256i zero, positive, negative;
};
inline Nearby look_up(const Bounds& bounds, __m256i places) {
  alignas(32) u32 at[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(at), places);
  const auto pair = [&](int lane) {
    const auto load = [&](int i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bounds.data() + at[i])); };
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load(lane)), load(lane + 4), 1);
  };
  const __m256i a = pair(0), b = pair(1), c = pair(2), d = pair(3);
  const __m256i low = _mm256_unpacklo_epi32(a, b), lower = _mm256_unpacklo_epi32(c, d);
  return {_mm256_unpacklo_epi64(low, lower), _mm256_unpackhi_epi64(low, lower),
          _mm256_unpacklo_epi64(_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d))};
}

// Kinds of all values; returns how many are not 0, and where their tables of magnitudes begin. What is
// looked up does not wait for the kinds of the column before.
inline std::size_t kinds_of(const Tables& tables, const Chunk& chunk, __m256i& x, Stream& in, u32* others,
                            unsigned* masks) {
  const __m256i base = logarithms_of(chunk.totals, chunk.inverse, 8);
  const __m256i first_level = all(tables.first), last_level = all(tables.last);
  const __m256i before = chunk.first > 0 ? wide(chunk.kinds + 8 * (chunk.first - 1)) : _mm256_setzero_si256();
  __m256i zero = _mm256_cmpgt_epi32(all(1), before), not_negative = _mm256_cmpgt_epi32(all(2), before);
  std::size_t count = 0;
  for (std::size_t i = 0; i < chunk.count; ++i) {
    const std::size_t column = chunk.first + i;
    const __m256i above = wide(chunk.kinds + 8 * chunk.above[column]);
    const __m256i mean = _mm256_srai_epi32(_mm256_add_epi32(base, all(chunk.offsets[column])), 2);
    const __m256i level =
        _mm256_min_epi32(_mm256_max_epi32(_mm256_sub_epi32(mean, all(lowest_level)), first_level), last_level);
    const __m256i by_level = _mm256_add_epi32(_mm256_slli_epi32(level, 3), level);
    const __m256i at = _mm256_add_epi32(_mm256_add_epi32(by_level, _mm256_add_epi32(above, above)), above);
    const Nearby nearby = look_up(tables.bounds, at);

    const __m256i none = all(chunk.beside[column] == chunk.width ? -1 : 0);
    const __m256i other = _mm256_blendv_epi8(nearby.negative, nearby.positive, not_negative);
    const __m256i both = _mm256_blendv_epi8(other, nearby.zero, _mm256_or_si256(zero, none));
    const __m256i first = _mm256_and_si256(both, all(0xffff)), second = _mm256_srli_epi32(both, 16);
    const __m256i slot = _mm256_and_si256(x, all(kind_total - 1));
    zero = _mm256_cmpgt_epi32(first, slot);
    not_negative = _mm256_cmpgt_epi32(second, slot);
    const __m256i start = _mm256_andnot_si256(zero, _mm256_blendv_epi8(second, first, not_negative));
    const __m256i stop = _mm256_blendv_epi8(_mm256_blendv_epi8(all(kind_total), second, not_negative), first, zero);
    const __m256i part = _mm256_mullo_epi32(_mm256_sub_epi32(stop, start), _mm256_srli_epi32(x, kind_bits));
    x = fill(_mm256_add_epi32(part, _mm256_sub_epi32(slot, start)), in);
    const __m256i kind = _mm256_add_epi32(all(2), _mm256_add_epi32(zero, not_negative));
    const __m128i kinds = _mm_packus_epi16(narrow(kind), _mm_setzero_si128());
    _mm_storel_epi64(reinterpret_cast<__m128i*>(chunk.kinds + 8 * column), kinds);

    masks[i] = 255u ^ bits_of(zero);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(others + count), packed(masks[i], at));
    count += static_cast<std::size_t>(_mm_popcnt_u64(masks[i]));
  }
  return count;
}

// Contexts become magnitudes.
inline void magnitudes_of(const Tables& tables, std::size_t count, __m256i& x, Stream& in, u32* others) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (std::size_t i = 0; i < count; i += 8) {
    auto* place = reinterpret_cast<__m256i*>(others + i);
    const __m256i used = _mm256_cmpgt_epi32(all(static_cast<int>(count - i)), lanes);
    const __m256i table = look_up(tables.at.data(), others + i);
    const __m256i slot = _mm256_add_epi32(table, _mm256_and_si256(x, all(magnitude_total - 1)));
    const __m256i entry = look_up(tables.magnitudes.data(), slot);
    const __m256i upper = _mm256_srli_epi32(x, magnitude_bits);
    const __m256i offset = _mm256_and_si256(_mm256_srli_epi32(entry, 8), all(0xfff));
    const __m256i whole = _mm256_mullo_epi32(_mm256_srli_epi32(entry, 20), upper);
    x = fill(_mm256_blendv_epi8(x, _mm256_add_epi32(_mm256_add_epi32(whole, upper), offset), used), in);
    _mm256_storeu_si256(place, _mm256_add_epi32(_mm256_and_si256(entry, all(0xff)), all(1)));
  }
}

inline void decode_chunk(const Tables& tables, const Chunk& chunk, Stream& stream) {
  Stream in = stream;
  __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in.x));
  alignas(32) u32 others[8 * step + 8];  // contexts of what is not 0, then magnitudes
  for (int i = 0; i <= step; ++i) _mm256_store_si256(reinterpret_cast<__m256i*>(others + 8 * i), _mm256_setzero_si256());
  unsigned masks[step];
  magnitudes_of(tables, kinds_of(tables, chunk, x, in, others, masks), x, in, others);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(in.x), x);
  stream = in;

  __m256i sums = _mm256_setzero_si256();
  __m128i columns[step];
  for (auto& column : columns) column = _mm_setzero_si128();
  const u32* next = others;
  for (std::size_t i = 0; i < chunk.count; ++i) {
    const __m256i given = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(next));
    const __m256i kinds = wide(chunk.kinds + 8 * (chunk.first + i));
    const __m256i other = _mm256_cmpgt_epi32(kinds, _mm256_setzero_si256());
    const __m256i negative = _mm256_cmpgt_epi32(kinds, all(1));
    const __m256i magnitude = _mm256_and_si256(spread(masks[i], given), other);
    sums = _mm256_add_epi32(sums, magnitude);
    columns[i] = narrow(_mm256_sub_epi32(_mm256_xor_si256(magnitude, negative), negative));
    next += _mm_popcnt_u64(masks[i]);
  }
  put(columns, chunk);
  add(chunk.totals, _mm256_castsi256_si128(sums));
  add(chunk.totals + 4, _mm256_extracti128_si256(sums, 1));
}

}  // namespace
}  // namespace tersor::lanes
