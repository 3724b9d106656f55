// The native kernels. Each is defined by its numpy twin in ../reference.py, and equal to it bit by bit.
//
// No kernel keeps state or looks at a byte outside of what it was given, whatever the bytes say. None
// allocates more than tables of fixed size, or throws, but for the context, mixing and lanes coders, which
// hold some numbers for each column, and whole payloads, which hold planes as large as what they
// stand for, and keep some memory for the next ones. Callers keep the preconditions named here.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

static_assert(std::endian::native == std::endian::little, "words are stored little-endian");

namespace tersor {

// Which instructions a kernel may use. The caller has checked that the processor has them.
enum class Level { portable = 0, avx2 = 1, avx512 = 2 };

// histogram.cpp: counts has 256 (65536) elements, which are overwritten.
void histogram(const std::uint8_t* data, std::size_t n, std::uint64_t* counts);
void histogram(const std::uint16_t* data, std::size_t n, std::uint64_t* counts);

// bits.cpp: 1 <= bits <= 16; packed has (n * bits + 7) / 8 bytes; codes < 2^bits.
void pack_bits(const std::uint16_t* codes, std::size_t n, unsigned bits, std::uint8_t* packed);
void unpack_bits(const std::uint8_t* packed, std::size_t n, unsigned bits, std::uint16_t* codes);

// planes.cpp: n elements of width 1, 2, 4 or 8 bytes; planes has n * width bytes, highest plane first.
void split_planes(const std::uint8_t* data, std::size_t n, unsigned width, bool rotate,
                  std::uint8_t* planes);
void join_planes(const std::uint8_t* planes, std::size_t n, unsigned width, bool rotate,
                 std::uint8_t* data);
void join_planes(const std::uint8_t* const* planes, std::size_t n, unsigned width, bool rotate,
                 std::uint8_t* data);  // each by itself

// crc32_avx2.cpp: the checksum of zlib of bytes behind others, whose checksum is `before`.
std::uint32_t crc32_avx2(const std::uint8_t* data, std::size_t n, std::uint32_t before);

// gaps.cpp: gaps has room for n + n / 255 + 1 bytes, values for n. Returns both counts.
struct Counts {
  std::size_t gaps, values;
};
Counts find_gaps(const std::uint8_t* data, std::size_t n, std::uint8_t* gaps, std::uint8_t* values);
// False if gaps and values do not fill exactly n bytes.
bool fill_gaps(const std::uint8_t* gaps, std::size_t n_gaps, const std::uint8_t* values,
               std::size_t n_values, std::uint8_t* data, std::size_t n);

// rans.cpp: frequencies sum to 2^bits, 12 <= bits <= 15; lanes is a power of two up to 64.
constexpr unsigned least_bits = 12, most_bits = 15, most_lanes = 64;
constexpr std::uint32_t lowest_state = 1u << 16;

// Words stand backwards from words[n], from `start` on; the last `alone` symbols are the first lane's.
struct RansOutput {
  bool missing;  // a symbol has frequency 0
  std::size_t start, alone;
};
RansOutput rans_encode(const std::uint8_t* symbols, std::size_t n, const std::uint32_t* frequencies,
                       unsigned bits, unsigned lanes, std::uint32_t* states, std::uint16_t* words, Level level);

// Writes n symbols, whole rounds, backwards from `words`, which is moved; entries are start | frequency << 16.
// False if a symbol has frequency 0.
using RansWriting = bool (*)(const std::uint32_t* entries, unsigned bits, const std::uint8_t* symbols,
                             std::size_t n, std::uint32_t* states, std::uint16_t*& words);
RansWriting rans_writing_avx512(unsigned lanes);  // null if there is none

// What stands at each of the 2^bits slots. Up to 12 bits everything is in one word:
// symbol | slot - start << 8 | frequency - 1 << 20. Above, the symbol; entries are then those of symbols:
// start | frequency << 16.
struct RansTable {
  static constexpr unsigned ahead = 16;  // entries that are written, though not used, behind the last
  std::uint32_t entries[(1u << least_bits) + ahead];
  std::uint8_t symbols[1u << most_bits];
  unsigned bits;
};

struct RansInput {
  const std::uint8_t* words;  // little-endian words of 16 bits, at any address
  std::size_t count, at;
};

// Whole rounds of `lanes` symbols while words last for one more; returns the symbols written.
using RansRounds = std::size_t (*)(const RansTable&, RansInput&, std::uint32_t* states,
                                   std::uint8_t* out, std::size_t n);
RansRounds rans_rounds_avx2(unsigned lanes, bool wide);    // null if there is none
RansRounds rans_rounds_avx512(unsigned lanes, bool wide);  // null if there is none

// False if words and states are not what the encoder writes for some n symbols, the last n_alone <= n of
// them the first lane's.
bool rans_decode(const std::uint8_t* words, std::size_t n_words, std::uint32_t* states, unsigned lanes,
                 const std::uint32_t* frequencies, unsigned bits, std::uint8_t* out, std::size_t n,
                 std::size_t n_alone, Level level);

// A payload in pieces: its head, and what stands elsewhere: with the caller, with `own`, or in memory that the
// next payload of this thread will need.
struct RansPayload {
  struct Piece {
    const std::uint8_t* bytes;
    std::size_t size;
  };
  std::vector<std::uint8_t> head;
  std::unique_ptr<std::uint8_t[]> own;
  std::vector<Piece> body;

  std::size_t size() const;
  void copy(std::uint8_t* out) const;  // size() bytes
};

// rans_payload.cpp: count >= 1 bytes as the codec rans stores them; log2 of 0 .. 2^16 in units of 2^-16;
// elements are single bytes, or of any width. The payload refers to the data.
RansPayload rans_write(const std::uint8_t* data, std::size_t count, const std::int64_t* log2, bool single,
                       Level level);
// Whether the payload says that it is of so many bytes.
bool rans_counts(const std::uint8_t* payload, std::size_t n, std::size_t count);
// False if the payload is not well formed, or not of that many bytes.
bool rans_read(const std::uint8_t* payload, std::size_t n, std::uint8_t* out, std::size_t count,
               Level level);

// Frequencies of 256 symbols that sum to 2^bits, from weights below 2^18 of which one at least is not 0.
void to_frequencies(const std::uint32_t* weights, unsigned bits, std::uint32_t* frequencies);

// levels.cpp: the levels of 256 symbols, in 0 .. most, from that bit on; 1 <= most <= 255. Returns the
// bit behind them; -1 if no such table stands there.
std::ptrdiff_t read_levels(const std::uint8_t* data, std::size_t n, std::size_t at, unsigned most,
                           std::uint8_t* levels);

// huffman.cpp: canonical codes of 1 .. 12 bits, the earlier bit of a code in the lower bit.
constexpr unsigned most_code_bits = 12;
// bytes has room for (n * 12 + 7) / 8 + 8; returns the bytes used; -1 if a symbol has no code.
std::ptrdiff_t huffman_encode(const std::uint8_t* symbols, std::size_t n,
                              const std::uint8_t* lengths, std::uint8_t* bytes);
// False if the bytes are not what the encoder writes for some n symbols.
bool huffman_decode(const std::uint8_t* bytes, std::size_t n_bytes, const std::uint8_t* lengths,
                    std::uint8_t* out, std::size_t n);

// context.cpp: values of tensors in rows of channels * kernel, the last row cut; width >= 1. The
// magnitudes that are encoded are at most 255; those decoded may be 256.
struct TensorShape {
  std::size_t size, channels, kernel, width;
};
// Returns the bytes used; -1 if they do not fit. Leaves the values as they are.
std::ptrdiff_t context_encode(std::int16_t* values, const TensorShape* shapes, std::size_t n_shapes,
                              std::uint8_t* out, std::size_t room);
// False if the bytes are not what the encoder writes for some values of these shapes.
bool context_decode(const std::uint8_t* bytes, std::size_t n, const TensorShape* shapes,
                    std::size_t n_shapes, std::int16_t* values);

// lanes.cpp: as context.cpp; log2 of 0 .. 2^16 in units of 2^-16.
std::ptrdiff_t lanes_encode(const std::int16_t* values, const TensorShape* shapes, std::size_t n_shapes,
                            const std::int64_t* log2, std::uint8_t* out, std::size_t room);
bool lanes_decode(const std::uint8_t* bytes, std::size_t n, const TensorShape* shapes,
                  std::size_t n_shapes, std::int16_t* values, Level level);

// integers.cpp: whether a payload says that it is of so many bytes, and may be; and those of the codec lanes.
bool integers_count(const std::uint8_t* payload, std::size_t n, std::size_t count);
// False if the payload is not well formed, or not of that many bytes.
bool lanes_read(const std::uint8_t* payload, std::size_t n, std::uint8_t* out, std::size_t count,
                Level level);

// mixing.cpp: as context.cpp.
std::ptrdiff_t mixing_encode(std::int16_t* values, const TensorShape* shapes, std::size_t n_shapes,
                             std::uint8_t* out, std::size_t room);
bool mixing_decode(const std::uint8_t* bytes, std::size_t n, const TensorShape* shapes,
                   std::size_t n_shapes, std::int16_t* values);

}  // namespace tersor
