// The lanes coder: chances, and what decoding looks up. Definition: ../reference_lanes_tables.py.

#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bit_stream.hpp"
#include "kernels.hpp"

namespace tersor::lanes {

using i64 = std::int64_t;
using u8 = std::uint8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr int most_lanes = 8, step = 8, levels = 24, sign_pairs = 9, zero_classes = 4, odds_steps = 93, even = 48;
constexpr int lowest_level = 4, buckets = 28, weight_steps = 64;
constexpr std::size_t contexts = levels * sign_pairs;
constexpr unsigned kind_bits = 15, magnitude_bits = 12;
constexpr u32 kind_total = 1u << kind_bits, magnitude_total = 1u << magnitude_bits;

// Of the signs above and beside: whether there are any.
constexpr int zero_class(int signs) { return 2 * (signs % 3 != 0) + (signs / 3 != 0); }

// Which bucket a magnitude, less 1, is in; where a bucket begins, and how many it holds.
int bucket_of(u32 rest);
struct Bucket {
  u32 first, size;
};
Bucket bucket_at(int number);

// What is chosen for a payload.
struct Choices {
  int lanes = 1, first = 0, last = 0;
  u8 zeros[zero_classes][levels] = {};
  u8 signs[sign_pairs] = {};
  int tables = 1;
  u8 table_of[levels] = {};         // of magnitudes
  u8 used[levels] = {};             // buckets of a table
  u8 weights[levels][buckets] = {};
};

// How often what occurred.
struct Counts {
  u32 kinds[contexts][3] = {};  // by context
  u32 magnitudes[levels][buckets] = {};
};

Choices choose(const Counts& counts, const i64* log2);
void write(const Choices& choices, BitWriter& head);
bool read(BitReader& head, Choices& choices);

// Two bounds for each context: below the first is 0, below the second a positive value.
// They are read four at a time.
using Bounds = std::array<u32, contexts + 3>;  // first | second << 16
Bounds to_bounds(const Choices& choices);

// How often each magnitude, less 1, of a table; summing to 2^12.
using Frequencies = std::uint32_t[256];
void to_magnitudes(const Choices& choices, int table, Frequencies& frequencies);

// What decoding looks up.
struct Tables {
  explicit Tables(const Choices& choices);

  int first, last;                               // levels
  Bounds bounds;
  std::array<u32, contexts> at;       // where the magnitudes of a context begin
  std::vector<u32> magnitudes;                   // less 1 | slot - start << 8 | frequency - 1 << 20
};

// Some columns of `rows` rows; of the last row only those before `cut`.
struct Chunk {
  std::size_t first, count, width, cut;
  int rows;
  u64 inverse;            // of the columns before, and those that they are worth without any
  u64* totals;            // of each row: its magnitudes so far, in units of 2^-8
  const int* offsets;     // of each column
  const u32 *beside, *above;  // of each column: the column whose kinds those of its neighbours are
  u8* kinds;              // of each column, for each row: 0; 1 for a positive, 2 for a negative value
  std::int16_t* values;
  u64* column_sums;       // of magnitudes
};

// Words may be read beyond the last, as many as a chunk takes at most: `left` is below 0 then.
struct Stream {
  const u8* words;
  std::ptrdiff_t left;
  u32 x[most_lanes];
};

// lanes_chunk.hpp: eight whole rows, so short that totals are below 2^32. Words that can be read: 16 for each
// column, and 8 more.
constexpr std::size_t most_words = 16 * step + 8;
constexpr std::size_t most_width = 1u << 15;
void chunk_avx2(const Tables& tables, const Chunk& chunk, Stream& stream);
void chunk_avx512(const Tables& tables, const Chunk& chunk, Stream& stream);
// Logarithms of what so many sums, below 2^32, are for each of the rows, whose inverse is given.
void logarithms_avx2(const u64* sums, std::size_t n, u64 inverse, int* out);
void logarithms_avx512(const u64* sums, std::size_t n, u64 inverse, int* out);

}  // namespace tersor::lanes
