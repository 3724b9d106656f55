// The lanes coder: values of several rows side by side. Definition: ../reference_lanes.py.

#include "lanes.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <memory>
#include <vector>

namespace tersor {
namespace lanes {
namespace {

constexpr u64 trust = 8;  // columns that the rows so far are worth
constexpr std::size_t per_lane = 4096;  // values for which two lanes are worth it

inline int logarithm(u64 mean) {
  mean += 4;
  const int length = static_cast<int>(std::bit_width(mean)) - 1;
  return 8 * length + static_cast<int>(mean >> std::max(length - 3, 0) & 7);
}

// A mean of so many in units of 2^-8; the total in the same.
inline u64 mean_of(u64 total, u64 inverse) { return total * inverse >> 40; }
inline u64 inverse_of(u64 count) { return (u64{1} << 40) / count; }

// The values of tensors in rows, `n` rows at a time, column by column.
template <int n, typename Coder>
class Walk {
 public:
  explicit Walk(Coder& coder) : coder_(coder) {}

  bool tensor(const TensorShape& shape, std::int16_t* values) {
    shape_ = shape;
    width_ = shape.channels * shape.kernel;
    sums_.assign(width_, 0);
    offsets_.assign(width_, 0);
    channels_.resize(shape.channels);
    kernel_.resize(shape.kernel);
    kinds_.assign((width_ + 1) * n, 0);
    all_ = 256;
    find_neighbours();
    const std::size_t whole = shape.size / width_;
    std::size_t row = 0;
    for (; row + n <= whole; row += n) {
      if (row > 0) look_back(row);
      if (!group(values + row * width_, n, width_)) return false;
    }
    const std::size_t left = shape.size - row * width_;
    if (left == 0) return true;
    if (row > 0) look_back(row);
    const int rows = static_cast<int>((left + width_ - 1) / width_);
    return group(values + row * width_, rows, left - static_cast<std::size_t>(rows - 1) * width_);
  }

 private:
  // Where the kinds beside and above are; behind the last column stand none.
  void find_neighbours() {
    const auto none = static_cast<u32>(width_);
    const std::size_t back = shape_.kernel == 1 ? 2 : shape_.width;
    beside_.resize(width_);
    above_.resize(width_);
    for (std::size_t x = 0; x < width_; ++x) {
      const std::size_t place = shape_.kernel == 1 ? x : x % shape_.kernel;
      const bool begins = shape_.kernel == 1 ? x == 0 : place % shape_.width == 0;
      beside_[x] = begins ? none : static_cast<u32>(x - 1);
      above_[x] = place < back ? none : static_cast<u32>(x - back);
    }
  }

  // What the rows so far say about each column.
  void look_back(u64 rows) {
    std::fill(kernel_.begin(), kernel_.end(), 0);
    u64 sum = 0;
    std::size_t at = 0;
    for (auto& channel : channels_) {
      channel = 0;
      for (auto& place : kernel_) {
        place += sums_[at];
        channel += sums_[at++];
      }
      sum += channel;
    }
    all_ = mean_of(sum << 8, inverse_of(rows * width_));
    const int mean = logarithm(all_);
    const u64 by_column = inverse_of(rows), by_channel = inverse_of(rows * shape_.kernel);
    const u64 by_place = inverse_of(rows * shape_.channels);
    for (auto& place : kernel_) place = static_cast<u64>(12 * logarithm(mean_of(place << 8, by_place)));
    at = 0;
    for (const auto& channel : channels_) {
      const int both = 8 * logarithm(mean_of(channel << 8, by_channel)) - 24 * mean;
      for (const auto& place : kernel_) {
        const int own = 4 * logarithm(mean_of(sums_[at] << 8, by_column));
        offsets_[at++] = (both + static_cast<int>(place) + own) >> 4;
      }
    }
  }

  bool group(std::int16_t* values, int rows, std::size_t cut) {
    u64 totals[n];
    int base[n];
    std::fill_n(totals, n, trust * all_);
    for (std::size_t start = 0; start < width_; start += step) {
      const u64 inverse = inverse_of(trust + start);
      for (int lane = 0; lane < n; ++lane) base[lane] = logarithm(mean_of(totals[lane], inverse));
      u32 sums[n] = {};
      const Chunk chunk{start, std::min<std::size_t>(step, width_ - start), width_, cut, rows, base,
                        offsets_.data(), beside_.data(), above_.data(), kinds_.data(), values, sums, sums_.data()};
      const bool fine = rows == n && cut == width_ ? coder_.template chunk<true>(chunk) : coder_.template chunk<false>(chunk);
      if (!fine) return false;
      for (int lane = 0; lane < n; ++lane) totals[lane] += u64{sums[lane]} << 8;
    }
    return true;
  }

  Coder& coder_;
  TensorShape shape_{};
  std::size_t width_ = 0;
  std::vector<u64> sums_;
  std::vector<u32> beside_, above_;
  std::vector<int> offsets_;
  std::vector<u64> channels_, kernel_;
  std::vector<u8> kinds_;
  u64 all_ = 256;
};

// A value where it was seen: context, kind, lane, and the magnitude less 1.
struct Seen {
  u8 at, kind, lane, rest;
};

// Calls `column(x, active, at, kinds)` for each column of a chunk, of n rows at most.
template <int n, bool full, typename Visit>
void by_columns(const Chunk& chunk, int first, int last, const Visit& column) {
  for (std::size_t x = chunk.first; x < chunk.first + chunk.count; ++x) {
    const int active = full ? n : chunk.rows - (x >= chunk.cut);
    const u8 *beside = chunk.kinds + chunk.beside[x] * n, *above = chunk.kinds + chunk.above[x] * n;
    u8 at[n];
    for (int lane = 0; lane < n; ++lane) {
      const int level = std::clamp(((chunk.base[lane] + chunk.offsets[x]) >> 2) - lowest_level, first, last);
      at[lane] = static_cast<u8>(sign_pairs * level + 3 * above[lane] + beside[lane]);
    }
    column(x, active, at, chunk.kinds + x * n);
  }
}

template <int n>
struct Recorder {
  Counts& counts;
  Seen* next;
  std::vector<u8>& sizes;

  template <bool full>
  bool chunk(const Chunk& chunk) {
    const Seen* begin = next;
    by_columns<n, full>(chunk, 0, levels - 1, [&](std::size_t x, int active, const u8* at, u8* kinds) {
      for (int lane = 0; lane < active; ++lane) {
        const int value = chunk.values[static_cast<std::size_t>(lane) * chunk.width + x];
        const u32 magnitude = static_cast<u32>(std::abs(value));
        kinds[lane] = value == 0 ? 0 : value > 0 ? 1 : 2;
        chunk.row_sums[lane] += magnitude;
        chunk.column_sums[x] += magnitude;
        ++counts.kinds[at[lane] / sign_pairs][at[lane] % sign_pairs][kinds[lane]];
        if (value != 0) ++counts.magnitudes[at[lane] / sign_pairs][bucket_of(magnitude - 1)];
        *next++ = {at[lane], kinds[lane], static_cast<u8>(lane), static_cast<u8>(magnitude - (value != 0))};
      }
    });
    sizes.push_back(static_cast<u8>(next - begin));
    return true;
  }
};

// Words from the last to the first.
struct States {
  u32 x[most_lanes];
  std::uint16_t* at;

  void put(unsigned lane, u32 start, u32 frequency, unsigned bits) {
    u32& now = x[lane];
    if (now >= u64{frequency} << (32 - bits)) {
      *--at = static_cast<std::uint16_t>(now);
      now >>= 16;
    }
    now = (now / frequency << bits) + now % frequency + start;
  }
};

template <int n>
struct Player {
  const Tables& tables;
  Stream in;
  bool fast, failed = false;

  template <bool full>
  bool chunk(const Chunk& chunk) {
    const bool sure = in.left >= words_for(chunk.count);
#ifdef TERSOR_X86
    if (full && n == 8 && fast && sure) {
      chunk_avx2(tables, chunk, in);
      return true;
    }
#endif
    if (full && sure) {
      play<full, true>(chunk);
    } else {
      play<full, false>(chunk);
    }
    return !failed;
  }

 private:
  template <bool full, bool sure>
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
        x = fill<sure>((end - start) * (x >> kind_bits) + slot - start);
        chunk.values[static_cast<std::size_t>(lane) * chunk.width + column] = 0;
        others[count] = {column, static_cast<std::size_t>(lane), at[lane], negative != 0};
        count += other;
      }
    });
    for (std::size_t i = 0; i < count; ++i) {
      const auto& [column, lane, at, negative] = others[i];
      u32& x = in.x[i % n];
      const u32 entry = tables.magnitudes[tables.at[at] + (x & (magnitude_total - 1))];
      x = fill<sure>(((entry >> 20) + 1) * (x >> magnitude_bits) + (entry >> 8 & 0xfff));
      const u32 magnitude = (entry & 0xff) + 1;
      chunk.row_sums[lane] += magnitude;
      chunk.column_sums[column] += magnitude;
      const int value = negative ? -static_cast<int>(magnitude) : static_cast<int>(magnitude);
      chunk.values[lane * chunk.width + column] = static_cast<std::int16_t>(value);
    }
  }

  template <bool sure>
  u32 fill(u32 state) {
    if constexpr (!sure) {
      if (state >= lowest_state) return state;
      if (in.left == 0) {
        failed = true;
        return lowest_state;
      }
    }
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
  Player<n> player{tables, {body + 4 * n, (size - 4 * n) / 2, {}}, level >= Level::avx2};
  u32* x = player.in.x;
  std::memcpy(x, body, 4 * n);
  if (std::any_of(x, x + n, [](u32 state) { return state < lowest_state; })) return false;
  Walk<n, Player<n>> walk(player);
  for (std::size_t i = 0; i < n_shapes; values += shapes[i].size, ++i) {
    if (!walk.tensor(shapes[i], values)) return false;
  }
  return player.in.left == 0 && std::all_of(x, x + n, [](u32 state) { return state == lowest_state; });
}

struct Record {
  std::vector<Seen> values;
  std::vector<u8> sizes;  // of chunks
  Counts counts;
};

template <int n>
void record(const std::int16_t* values, const TensorShape* shapes, std::size_t n_shapes, Record& found) {
  Recorder<n> recorder{found.counts, found.values.data(), found.sizes};
  Walk<n, Recorder<n>> walk(recorder);
  for (std::size_t i = 0; i < n_shapes; values += shapes[i].size, ++i) {
    walk.tensor(shapes[i], const_cast<std::int16_t*>(values));
  }
}

// Where each magnitude begins in its table, and how often it is.
struct Range {
  u32 start, frequency;
};
using Ranges = std::array<Range, 256>;

std::vector<Ranges> to_ranges(const Choices& c) {
  std::vector<Ranges> found(static_cast<std::size_t>(c.tables));
  for (int t = 0; t < c.tables; ++t) {
    Frequencies frequencies;
    to_magnitudes(c, t, frequencies);
    u32 start = 0;
    for (u32 rest = 0; rest < 256; start += frequencies[rest++]) {
      found[static_cast<std::size_t>(t)][rest] = {start, frequencies[rest]};
    }
  }
  return found;
}

void put_all(const Record& record, const Choices& c, States& states) {
  const Bounds bounds = to_bounds(c);
  const auto magnitudes = to_ranges(c);
  const auto lanes = static_cast<unsigned>(c.lanes);
  const Seen* begin = record.values.data() + record.values.size();
  for (std::size_t i = record.sizes.size(); i-- > 0;) {
    const Seen* end = begin;
    begin -= record.sizes[i];
    auto others = static_cast<unsigned>(std::count_if(begin, end, [](const Seen& seen) { return seen.kind > 0; }));
    for (const Seen* seen = end; seen-- > begin;) {
      if (seen->kind == 0) continue;
      const auto [start, frequency] = magnitudes[c.table_of[seen->at / sign_pairs]][seen->rest];
      states.put(--others % lanes, start, frequency, magnitude_bits);
    }
    for (const Seen* seen = end; seen-- > begin;) {
      const u32 both = bounds[seen->at];
      const u32 places[] = {0, both & 0xffff, both >> 16, kind_total};
      states.put(seen->lane, places[seen->kind], places[seen->kind + 1] - places[seen->kind], kind_bits);
    }
  }
}

std::ptrdiff_t encode(const std::int16_t* values, const TensorShape* shapes, std::size_t n_shapes,
                      const i64* log2, u8* out, std::size_t room) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < n_shapes; ++i) size += shapes[i].size;
  int lanes = 1;
  while (lanes < most_lanes && size >= per_lane * static_cast<unsigned>(lanes)) lanes *= 2;
  Record found{std::vector<Seen>(size), {}, {}};
  const auto run = lanes == 1 ? record<1> : lanes == 2 ? record<2> : lanes == 4 ? record<4> : record<8>;
  run(values, shapes, n_shapes, found);
  Choices c = choose(found.counts, log2);
  c.lanes = lanes;
  std::vector<u8> head;
  BitWriter writer(head);
  write(c, writer);
  writer.end();
  const auto words = std::make_unique_for_overwrite<std::uint16_t[]>(2 * size);
  const auto* end = words.get() + 2 * size;
  States states{{}, words.get() + 2 * size};
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

std::ptrdiff_t lanes_encode(const std::int16_t* values, const TensorShape* shapes, std::size_t n_shapes,
                            const std::int64_t* log2, std::uint8_t* out, std::size_t room) {
  return lanes::encode(values, shapes, n_shapes, log2, out, room);
}

bool lanes_decode(const std::uint8_t* bytes, std::size_t size, const TensorShape* shapes,
                  std::size_t n_shapes, std::int16_t* values, Level level) {
  return lanes::decode(bytes, size, shapes, n_shapes, values, level);
}

}  // namespace tersor
