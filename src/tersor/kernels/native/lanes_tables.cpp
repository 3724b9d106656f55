// What the lanes coder says of its statistics, and how it chooses it. Definition:
// ../reference_lanes_tables.py.

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <vector>

#include "lanes.hpp"

namespace tersor::lanes {
namespace {

constexpr unsigned fraction = 16, level_bits = 5, bucket_bits = 5, weight_bits = 6, lane_bits = 2;
constexpr i64 table_cost = 10, bucket_cost = 4;  // bits of a table, about
constexpr i64 bend = 22713;                      // ln 2 / 2 in units of 2^-16

u32 odds(int step) {
  const std::uint64_t for_it = std::uint64_t(4 + (step & 3)) << (step >> 2), against = 4u << 12;
  return static_cast<u32>((for_it << kind_bits) / (for_it + against));
}

u32 density(int weight) { return static_cast<u32>(4 + (weight & 3)) << (weight >> 2); }

i64 logarithm(const i64* log2, std::uint64_t n) {
  const int over = std::max(static_cast<int>(std::bit_width(n)) - static_cast<int>(fraction), 0);
  return log2[n >> over] + (i64{over} << fraction);
}

u32 folded(int step) { return static_cast<u32>(2 * std::abs(step) - (step > 0) + 1); }
int unfolded(u32 code) { return code % 2 == 0 ? static_cast<int>(code / 2) : -static_cast<int>(code / 2); }

i64 gamma_cost(int step) {
  return i64{2 * static_cast<int>(std::bit_width(folded(step))) - 1} << fraction;
}

int mirrored(int signs) {
  constexpr int other[] = {0, 2, 1};
  return 3 * other[signs / 3] + other[signs % 3];
}

int expected_zeros(const Choices& c, int zero_class, int level) {
  if (level > c.first) return c.zeros[zero_class][level - 1];
  return zero_class > 0 ? c.zeros[0][level] : even;
}

int expected_signs(const Choices& c, int signs) {
  const int other = mirrored(signs);
  return other < signs ? std::min(2 * even - c.signs[other], odds_steps - 1) : even;
}

u8 choose_odds(i64 yes, i64 no, int expected, const i64* log2) {
  i64 least = 0;
  int best = -1;
  for (int step = 0; step < odds_steps; ++step) {
    const u32 p = odds(step);
    const i64 all = i64{kind_bits} << fraction;
    const i64 cost = yes * (all - log2[p]) + no * (all - log2[kind_total - p]) + gamma_cost(step - expected);
    if (best < 0 || cost < least) {
      least = cost;
      best = step;
    }
  }
  return static_cast<u8>(best);
}

using Histogram = std::array<std::uint64_t, buckets>;

i64 table_bits(const Histogram& counts, const i64* log2) {
  std::uint64_t total = 0;
  i64 cost = 0, used = 0;
  for (int b = 0; b < buckets; ++b) {
    total += counts[b];
    if (counts[b] > 0) used = b + 1;
  }
  if (total == 0) return 0;
  const i64 whole = logarithm(log2, total);
  for (const auto n : counts) {
    if (n > 0) cost += static_cast<i64>(n) * (whole - logarithm(log2, n));
  }
  return cost + ((table_cost + bucket_cost * used) << fraction);
}

struct Group {
  int first;
  Histogram counts;
  i64 bits;
};

Group joined(const Group& a, const Group& b, const i64* log2) {
  Group both = a;
  for (int i = 0; i < buckets; ++i) both.counts[i] += b.counts[i];
  both.bits = table_bits(both.counts, log2);
  return both;
}

// Neighbouring levels share a table where that takes less.
std::vector<Group> to_groups(const Counts& counts, const Choices& c, const i64* log2) {
  std::vector<Group> groups;
  for (int level = c.first; level <= c.last; ++level) {
    Group group{level, {}, 0};
    std::copy_n(counts.magnitudes[level], buckets, group.counts.begin());
    group.bits = table_bits(group.counts, log2);
    groups.push_back(group);
  }
  while (groups.size() > 1) {
    i64 most = -1;
    std::size_t best = 0;
    for (std::size_t i = 0; i + 1 < groups.size(); ++i) {
      const i64 gain = groups[i].bits + groups[i + 1].bits - joined(groups[i], groups[i + 1], log2).bits;
      if (gain > most) {
        most = gain;
        best = i;
      }
    }
    if (most < 0) break;
    groups[best] = joined(groups[best], groups[best + 1], log2);
    groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  return groups;
}

// The nearest weight of each bucket, where many values are in it, and else one that is near and cheap.
void choose_weights(const Histogram& counts, const i64* log2, u8& used, u8* weights) {
  used = 1;
  i64 wanted[buckets], most = 0;
  bool any = false;
  for (int b = 0; b < buckets; ++b) {
    const i64 width = log2[bucket_at(b).size];
    wanted[b] = (counts[b] > 0 ? logarithm(log2, counts[b]) : -(i64{1} << fraction)) - width;
    if (counts[b] == 0) continue;
    used = static_cast<u8>(b + 1);
    most = any ? std::max(most, wanted[b]) : wanted[b];
    any = true;
  }
  const i64 top = logarithm(log2, density(weight_steps - 1));
  for (int b = 0; b < used; ++b) {
    i64 least = 0;
    int best = -1;
    for (int w = 0; w < weight_steps; ++w) {
      const i64 off = logarithm(log2, density(w)) - (wanted[b] - most + top);
      const i64 loss = (static_cast<i64>(counts[b]) * (off * off >> fraction) >> fraction) * bend;
      const i64 cost = loss + (b > 0 ? gamma_cost(w - weights[b - 1]) : std::abs(off));
      if (best < 0 || cost < least) {
        least = cost;
        best = w;
      }
    }
    weights[b] = static_cast<u8>(best);
  }
}

void put_step(BitWriter& head, int value, int expected) { head.put_gamma(folded(value - expected)); }

bool get_step(BitReader& head, int expected, int limit, u8& value) {
  const int found = expected + unfolded(head.get_gamma());
  value = static_cast<u8>(std::clamp(found, 0, limit - 1));
  return head.fine() && value == found;
}

}  // namespace

int bucket_of(u32 rest) {
  if (rest < 8) return static_cast<int>(rest);
  const int length = std::bit_width(rest) - 1;
  return 4 * (length - 1) + static_cast<int>(rest >> (length - 2) & 3);
}

Bucket bucket_at(int number) {
  if (number < 8) return {static_cast<u32>(number), 1};
  const int shift = number / 4 - 1;
  return {static_cast<u32>(4 + number % 4) << shift, 1u << shift};
}

Choices choose(const Counts& counts, const i64* log2) {
  Choices c;
  const auto occurs = [&](int level) {
    const auto* begin = counts.kinds[level * sign_pairs];
    return std::any_of(begin, begin + 3 * sign_pairs, [](u32 n) { return n > 0; });
  };
  while (c.first + 1 < levels && !occurs(c.first)) ++c.first;
  c.last = levels - 1;
  while (c.last > c.first && !occurs(c.last)) --c.last;
  for (int k = 0; k < zero_classes; ++k) {
    for (int level = c.first; level <= c.last; ++level) {
      i64 zero = 0, other = 0;
      for (int s = 0; s < sign_pairs; ++s) {
        if (zero_class(s) != k) continue;
        const auto& [none, positive, negative] = counts.kinds[level * sign_pairs + s];
        zero += none;
        other += i64{positive} + negative;
      }
      c.zeros[k][level] = choose_odds(zero, other, expected_zeros(c, k, level), log2);
    }
  }
  for (int s = 0; s < sign_pairs; ++s) {
    i64 positive = 0, negative = 0;
    for (int level = 0; level < levels; ++level) {
      positive += counts.kinds[level * sign_pairs + s][1];
      negative += counts.kinds[level * sign_pairs + s][2];
    }
    c.signs[s] = choose_odds(positive, negative, expected_signs(c, s), log2);
  }
  const auto groups = to_groups(counts, c, log2);
  c.tables = static_cast<int>(groups.size());
  for (int t = 0; t < c.tables; ++t) {
    std::fill(c.table_of + groups[t].first, c.table_of + levels, static_cast<u8>(t));
    choose_weights(groups[t].counts, log2, c.used[t], c.weights[t]);
  }
  return c;
}

void write(const Choices& c, BitWriter& head) {
  head.put(static_cast<unsigned>(std::bit_width(static_cast<unsigned>(c.lanes))) - 1, lane_bits);
  head.put(static_cast<unsigned>(c.first), level_bits);
  head.put(static_cast<unsigned>(c.last), level_bits);
  for (int k = 0; k < zero_classes; ++k) {
    for (int level = c.first; level <= c.last; ++level) put_step(head, c.zeros[k][level], expected_zeros(c, k, level));
  }
  for (int s = 0; s < sign_pairs; ++s) put_step(head, c.signs[s], expected_signs(c, s));
  for (int level = c.first + 1; level <= c.last; ++level) head.put(c.table_of[level] != c.table_of[level - 1], 1);
  for (int t = 0; t < c.tables; ++t) {
    head.put(c.used[t] - 1u, bucket_bits);
    head.put(c.weights[t][0], weight_bits);
    for (int b = 1; b < c.used[t]; ++b) put_step(head, c.weights[t][b], c.weights[t][b - 1]);
  }
}

bool read(BitReader& head, Choices& c) {
  c.lanes = 1 << head.get(lane_bits);
  c.first = static_cast<int>(head.get(level_bits));
  c.last = static_cast<int>(head.get(level_bits));
  if (!head.fine() || c.first > c.last || c.last >= levels) return false;
  for (int k = 0; k < zero_classes; ++k) {
    for (int level = c.first; level <= c.last; ++level) {
      if (!get_step(head, expected_zeros(c, k, level), odds_steps, c.zeros[k][level])) return false;
    }
  }
  for (int s = 0; s < sign_pairs; ++s) {
    if (!get_step(head, expected_signs(c, s), odds_steps, c.signs[s])) return false;
  }
  for (int level = c.first + 1; level <= c.last; ++level) {
    c.tables += static_cast<int>(head.get(1));
    c.table_of[level] = static_cast<u8>(c.tables - 1);
  }
  for (int t = 0; t < c.tables; ++t) {
    c.used[t] = static_cast<u8>(head.get(bucket_bits) + 1);
    c.weights[t][0] = static_cast<u8>(head.get(weight_bits));
    if (!head.fine() || c.used[t] > buckets) return false;
    for (int b = 1; b < c.used[t]; ++b) {
      if (!get_step(head, c.weights[t][b - 1], weight_steps, c.weights[t][b])) return false;
    }
  }
  return head.fine();
}

Bounds to_bounds(const Choices& c) {
  Bounds bounds{};
  for (int level = c.first; level <= c.last; ++level) {
    for (int s = 0; s < sign_pairs; ++s) {
      const u32 zero = odds(c.zeros[zero_class(s)][level]);
      const u32 positive = (kind_total - zero) * odds(c.signs[s]) >> kind_bits;
      bounds[static_cast<std::size_t>(level * sign_pairs + s)] =
          zero | std::clamp(zero + positive, zero + 1, kind_total - 1) << 16;
    }
  }
  return bounds;
}

void to_magnitudes(const Choices& c, int table, Frequencies& frequencies) {
  Frequencies weights = {};
  const int used = c.used[table];
  for (int b = 0; b < used; ++b) {
    const auto [first, size] = bucket_at(b);
    const u32 own = density(c.weights[table][b]);
    for (u32 i = 0; i < size; ++i) {
      const int side = static_cast<int>(2 * i + 1) - static_cast<int>(size);
      const int beside = side < 0 ? b - 1 : b + 1;
      u32 weight = own;
      if (side != 0 && beside < used) {
        const u32 away = static_cast<u32>(std::abs(side)), whole = size + bucket_at(beside).size;
        weight = (own * (whole - away) + density(c.weights[table][beside]) * away) / whole;
      }
      weights[first + i] = weight;
    }
  }
  to_frequencies(weights, magnitude_bits, frequencies);
}

Tables::Tables(const Choices& c)
    : first(c.first), last(c.last), bounds(to_bounds(c)), magnitudes(static_cast<std::size_t>(c.tables) * magnitude_total) {
  u32* slot = magnitudes.data();
  for (int t = 0; t < c.tables; ++t) {
    Frequencies frequencies;
    to_magnitudes(c, t, frequencies);
    for (u32 rest = 0; rest < 256; ++rest) {
      const u32 f = frequencies[rest];
      for (u32 i = 0; i < f; ++i) *slot++ = rest | i << 8 | (f - 1) << 20;
    }
  }
  for (std::size_t i = 0; i < contexts; ++i) at[i] = c.table_of[i / sign_pairs] * magnitude_total;
}

}  // namespace tersor::lanes
