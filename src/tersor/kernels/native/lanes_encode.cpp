// The lanes coder, written: contexts first, then words from the last to the first. Definition:
// ../reference_lanes.py.

#include <cstdlib>
#include <memory>

#include "lanes_walk.hpp"

namespace tersor {
namespace lanes {
namespace {

constexpr std::size_t per_lane = 4096;  // values for which two lanes are worth it

// A value where it was seen: context, kind, lane, and the magnitude.
struct Seen {
  u8 at, kind, lane, magnitude;
};

// What was seen of all values, in the order in which they are coded.
struct Record {
  std::vector<Seen> values;
  std::vector<u8> sizes;                           // of chunks
  std::vector<std::array<u32, 256>> magnitudes{levels};  // how often each, by level; 0, too
  Counts counts;
};

template <int n>
struct Recorder {
  Record& record;
  Seen* next;

  template <bool full>
  bool chunk(const Chunk& chunk) {
    const Seen* begin = next;
    by_columns<n, full>(chunk, 0, levels - 1, [&](std::size_t x, int active, const u8* at, u8* kinds) {
      for (int lane = 0; lane < active; ++lane) {
        const int value = chunk.values[static_cast<std::size_t>(lane) * chunk.width + x];
        const auto magnitude = static_cast<u8>(std::abs(value));
        kinds[lane] = static_cast<u8>((value != 0) + (value < 0));
        chunk.totals[lane] += magnitude << 8;
        chunk.column_sums[x] += magnitude;
        ++record.counts.kinds[at[lane]][kinds[lane]];
        ++record.magnitudes[at[lane] / sign_pairs][magnitude];
        *next++ = {at[lane], kinds[lane], static_cast<u8>(lane), magnitude};
      }
    });
    record.sizes.push_back(static_cast<u8>(next - begin));
    return true;
  }
};

template <int n>
void record(const std::int16_t* values, const TensorShape* shapes, std::size_t n_shapes, Record& found) {
  Recorder<n> recorder{found, found.values.data()};
  Walk<n, Recorder<n>> walk(recorder);
  for (std::size_t i = 0; i < n_shapes; values += shapes[i].size, ++i) {
    walk.tensor(shapes[i], const_cast<std::int16_t*>(values));
  }
  for (std::size_t level = 0; level < levels; ++level) {
    for (u32 magnitude = 1; magnitude < 256; ++magnitude) {
      found.counts.magnitudes[level][bucket_of(magnitude - 1)] += found.magnitudes[level][magnitude];
    }
  }
}

// x / f is the high word of x * inverse; for f = 1, one less, which bias and rest make up for.
struct Symbol {
  u64 inverse = 0, limit = 0;
  u32 bias = 0, rest = 0;

  Symbol() = default;
  Symbol(u32 start, u32 frequency, unsigned bits)
      : inverse(frequency == 1 ? ~u64{0} : ~u64{0} / frequency + 1),
        limit(u64{frequency} << (32 - bits)),
        bias(frequency == 1 ? start + (1u << bits) - 1 : start),
        rest((1u << bits) - frequency) {}
};

inline u32 high(u64 a, u64 b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<u32>(static_cast<Wide>(a) * b >> 64);
}

// Words from the last to the first; a place before them may be written.
struct States {
  u32 x[most_lanes];
  std::uint16_t* at;

  void put(unsigned lane, const Symbol& symbol) {
    const u32 before = x[lane], out = before >= symbol.limit;
    at[-1] = static_cast<std::uint16_t>(before);  // counts only if the state is too large
    at -= out;
    const u32 now = before >> (16 * out);
    x[lane] = now + symbol.bias + high(now, symbol.inverse) * symbol.rest;
  }
};

struct Symbols {
  std::array<std::array<Symbol, 3>, contexts> kinds;
  std::vector<std::array<Symbol, 256>> magnitudes;  // by table; the first is none
  std::array<const Symbol*, contexts> of{};

  explicit Symbols(const Choices& c) : magnitudes(static_cast<std::size_t>(c.tables)) {
    const Bounds bounds = to_bounds(c);
    for (std::size_t at = 0; at < contexts; ++at) {
      const u32 places[] = {0, bounds[at] & 0xffff, bounds[at] >> 16, kind_total};
      if (places[1] == 0) continue;
      for (int k = 0; k < 3; ++k) kinds[at][static_cast<std::size_t>(k)] = {places[k], places[k + 1] - places[k], kind_bits};
      of[at] = magnitudes[c.table_of[at / sign_pairs]].data();
    }
    for (int t = 0; t < c.tables; ++t) {
      Frequencies frequencies;
      to_magnitudes(c, t, frequencies);
      u32 start = 0;
      for (std::size_t rest = 0; rest < 255; start += frequencies[rest++]) {
        if (frequencies[rest] == 0) continue;
        magnitudes[static_cast<std::size_t>(t)][rest + 1] = {start, frequencies[rest], magnitude_bits};
      }
    }
  }
};

void put_all(const Record& record, const Choices& c, States& states) {
  const Symbols symbols(c);
  const auto mask = static_cast<unsigned>(c.lanes) - 1;
  const Seen* begin = record.values.data() + record.values.size();
  for (std::size_t i = record.sizes.size(); i-- > 0;) {
    const Seen* end = begin;
    begin -= record.sizes[i];
    Seen others[most_lanes * step];
    unsigned count = 0;
    for (const Seen* seen = begin; seen < end; ++seen) {
      others[count] = *seen;
      count += seen->kind > 0;
    }
    while (count-- > 0) states.put(count & mask, symbols.of[others[count].at][others[count].magnitude]);
    for (const Seen* seen = end; seen-- > begin;) states.put(seen->lane, symbols.kinds[seen->at][seen->kind]);
  }
}

std::ptrdiff_t encode(const std::int16_t* values, const TensorShape* shapes, std::size_t n_shapes,
                      const i64* log2, u8* out, std::size_t room) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < n_shapes; ++i) size += shapes[i].size;
  int lanes = 1;
  while (lanes < most_lanes && size >= per_lane * static_cast<unsigned>(lanes)) lanes *= 2;
  Record found;
  found.values.resize(size);
  const auto run = lanes == 1 ? record<1> : lanes == 2 ? record<2> : lanes == 4 ? record<4> : record<8>;
  run(values, shapes, n_shapes, found);
  Choices c = choose(found.counts, log2);
  c.lanes = lanes;
  std::vector<u8> head;
  BitWriter writer(head);
  write(c, writer);
  writer.end();
  const auto words = std::make_unique_for_overwrite<std::uint16_t[]>(2 * size + 1);
  const auto* end = words.get() + 2 * size + 1;
  States states{{}, words.get() + 2 * size + 1};
  std::fill_n(states.x, lanes, lowest_state);
  put_all(found, c, states);
  const std::size_t states_size = 4 * static_cast<std::size_t>(lanes);
  const std::size_t words_size = 2 * static_cast<std::size_t>(end - states.at);
  if (head.size() + states_size + words_size > room) return -1;
  std::memcpy(out, head.data(), head.size());
  std::memcpy(out + head.size(), states.x, states_size);
  std::memcpy(out + head.size() + states_size, states.at, words_size);
  return static_cast<std::ptrdiff_t>(head.size() + states_size + words_size);
}

}  // namespace
}  // namespace lanes

std::ptrdiff_t lanes_encode(const std::int16_t* values, const TensorShape* shapes, std::size_t n_shapes,
                            const std::int64_t* log2, std::uint8_t* out, std::size_t room) {
  return lanes::encode(values, shapes, n_shapes, log2, out, room);
}

}  // namespace tersor
