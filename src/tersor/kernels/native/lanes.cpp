// The lanes coder: values of several rows side by side, read. Definition: ../reference_lanes.py.

#include <bit>

#include "lanes_walk.hpp"

namespace tersor {
namespace lanes {
namespace {

// What a level has of its own; null if nothing.
struct Vectors {
  void (*chunk)(const Tables&, const Chunk&, Stream&);
  Logarithms logarithms;
};

Vectors vectors_of(Level level) {
#ifdef TERSOR_X86
  if (level == Level::avx512) return {chunk_avx512, logarithms_avx512};
  if (level == Level::avx2) return {chunk_avx2, logarithms_avx2};
#else
  static_cast<void>(level);
#endif
  return {nullptr, logarithms_of};
}

template <int n>
struct Player {
  const Tables& tables;
  Stream in;
  void (*vectors)(const Tables&, const Chunk&, Stream&);
  std::uint16_t tail[2 * most_words];  // the last words, with zeros behind them
  bool in_tail = false;

  template <bool full>
  bool chunk(const Chunk& chunk) {
    if (!in_tail && in.left < static_cast<std::ptrdiff_t>(most_words)) {
      in_tail = true;
      std::memset(tail, 0, sizeof tail);
      std::memcpy(tail, in.words, 2 * static_cast<std::size_t>(in.left));
      in.words = reinterpret_cast<const u8*>(tail);
    }
    if (full && n == 8 && vectors != nullptr && chunk.width < most_width) {
      vectors(tables, chunk, in);
    } else {
      play<full>(chunk);
    }
    return in.left >= 0;
  }

 private:
  template <bool full>
  void play(const Chunk& chunk) {
    struct Other {
      std::size_t column, lane;
      u8 at;
      bool negative;
    } others[step * n];
    std::size_t count = 0;
    by_columns<n, full>(chunk, tables.first, tables.last, [&](std::size_t column, int active, const u8* at, u8* kinds) {
      for (int lane = 0; lane < (full ? n : active); ++lane) {
        u32& x = in.x[lane];
        const u32 slot = x & (kind_total - 1), both = tables.bounds[at[lane]];
        const u32 first = both & 0xffff, second = both >> 16;
        const u32 other = slot >= first, negative = slot >= second;
        const u32 start = (first & (0u - other)) + ((second - first) & (0u - negative));
        const u32 end = first + ((second - first) & (0u - other)) + ((kind_total - second) & (0u - negative));
        kinds[lane] = static_cast<u8>(other + negative);
        x = fill((end - start) * (x >> kind_bits) + slot - start);
        chunk.values[static_cast<std::size_t>(lane) * chunk.width + column] = 0;
        others[count] = {column, static_cast<std::size_t>(lane), at[lane], negative != 0};
        count += other;
      }
    });
    for (std::size_t i = 0; i < count; ++i) {
      const auto& [column, lane, at, negative] = others[i];
      u32& x = in.x[i % n];
      const u32 entry = tables.magnitudes[tables.at[at] + (x & (magnitude_total - 1))];
      x = fill(((entry >> 20) + 1) * (x >> magnitude_bits) + (entry >> 8 & 0xfff));
      const u32 magnitude = (entry & 0xff) + 1;
      chunk.totals[lane] += magnitude << 8;
      chunk.column_sums[column] += magnitude;
      const int value = negative ? -static_cast<int>(magnitude) : static_cast<int>(magnitude);
      chunk.values[lane * chunk.width + column] = static_cast<std::int16_t>(value);
    }
  }

  u32 fill(u32 state) {
    std::uint16_t word;
    std::memcpy(&word, in.words, 2);
    const u32 taken = state < lowest_state;
    in.words += 2 * taken;
    in.left -= taken;
    return taken ? state << 16 | word : state;
  }
};

template <int n>
bool decode_lanes(const Choices& c, const u8* body, std::size_t size, const TensorShape* shapes,
                  std::size_t n_shapes, std::int16_t* values, Level level) {
  const Tables tables(c);
  const Vectors vectors = vectors_of(level);
  Player<n> player{tables, {body + 4 * n, static_cast<std::ptrdiff_t>((size - 4 * n) / 2), {}}, vectors.chunk, {}};
  u32* x = player.in.x;
  std::memcpy(x, body, 4 * n);
  if (std::any_of(x, x + n, [](u32 state) { return state < lowest_state; })) return false;
  Walk<n, Player<n>> walk(player, vectors.logarithms);
  for (std::size_t i = 0; i < n_shapes; values += shapes[i].size, ++i) {
    if (!walk.tensor(shapes[i], values)) return false;
  }
  return player.in.left == 0 && std::all_of(x, x + n, [](u32 state) { return state == lowest_state; });
}

bool decode(const u8* bytes, std::size_t size, const TensorShape* shapes, std::size_t n_shapes,
            std::int16_t* values, Level level) {
  BitReader head(bytes, size);
  Choices c;
  std::size_t at = 0;
  if (!read(head, c) || !head.end(at)) return false;
  const std::size_t left = size - at;
  if (left < 4 * static_cast<std::size_t>(c.lanes) || left % 2 != 0) return false;
  const auto run = c.lanes == 1   ? decode_lanes<1>
                   : c.lanes == 2 ? decode_lanes<2>
                   : c.lanes == 4 ? decode_lanes<4>
                                  : decode_lanes<8>;
  return run(c, bytes + at, left, shapes, n_shapes, values, level);
}

}  // namespace
}  // namespace lanes

bool lanes_decode(const std::uint8_t* bytes, std::size_t size, const TensorShape* shapes,
                  std::size_t n_shapes, std::int16_t* values, Level level) {
  return lanes::decode(bytes, size, shapes, n_shapes, values, level);
}

}  // namespace tersor
