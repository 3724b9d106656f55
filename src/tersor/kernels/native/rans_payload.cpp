// Whole payloads of the codec rans: forms, tables, planes. Definition: ../rans_payload.py, whose
// functions these follow one by one; what a payload must not hold is refused in the same places.

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>

#include "bit_stream.hpp"
#include "kernels.hpp"

namespace tersor {
namespace {

constexpr std::size_t symbols = 256;
constexpr std::size_t sample_bytes = 1u << 11, samples = 8;
constexpr unsigned kept_bits = 3, most_level = 18, fraction = 16, symbol_bits = 5;
constexpr std::size_t noise_sample = 1u << 11, noise_least = 1u << 16;
constexpr std::int64_t noise_bits = 1000;
constexpr std::uint64_t heaviest = 15u << 14, per_lanes = 4, worth = 400;
constexpr unsigned lowest_state_bits = std::bit_width(lowest_state) - 1;  // below the highest
constexpr unsigned state_bits = 4;  // of how many more a state has

struct Form {
  unsigned width;
  bool turned;
};
constexpr Form forms[] = {{1, false}, {2, false}, {2, true}, {4, false},
                          {4, true},  {8, false}, {8, true}};

using Histogram = std::uint64_t[symbols];
using Weights = std::uint32_t[symbols];
using Frequencies = std::uint32_t[symbols];
using Buffer = std::unique_ptr<std::uint8_t[]>;

Buffer buffer(std::size_t n) { return std::make_unique_for_overwrite<std::uint8_t[]>(n); }

// Memory that is the thread's until it asks again, so that the system need not find and clear it each time; or,
// where it is much, that goes with `own`.
std::uint8_t* memory(std::size_t n, Buffer& own) {
  constexpr std::size_t most = std::size_t{1} << 25;
  thread_local Buffer kept;
  thread_local std::size_t size = 0;
  if (n > most) own = buffer(n);
  if (n > most || n <= size) return n > most ? own.get() : kept.get();
  kept = nullptr;
  size = 0;
  kept = buffer(n);
  size = n;
  return kept.get();
}

// ---- Reading

void get_weights(BitReader& head, Weights& weights) {
  std::uint8_t levels[symbols];
  if (!head.get_levels(most_level, levels)) return;
  if (std::all_of(levels, levels + symbols, [](auto level) { return level == 0; })) return head.refuse();
  for (std::size_t s = 0; s < symbols; ++s) {
    weights[s] = levels[s];
    if (levels[s] <= 1) continue;
    const unsigned below = levels[s] - 1u, kept = std::min(below, kept_bits);
    weights[s] = static_cast<std::uint32_t>(1u << kept | head.get(kept)) << (below - kept);
  }
}

struct Plane {
  unsigned bits = 0, lanes = 0;  // no lanes: as it is
  std::size_t size = 0, alone = 0;
  Weights weights;
  std::uint32_t states[most_lanes];
};

// False if there cannot be such a plane in n bytes.
bool read_plane(BitReader& head, std::size_t length, std::size_t n, Plane& plane) {
  plane.size = length;
  if (head.get(1) == 0) return head.fine();
  plane.bits = least_bits + static_cast<unsigned>(head.get(2));
  plane.lanes = 1u << head.get(3);
  const std::uint64_t words = head.get_size(), alone = plane.lanes > 1 ? head.get_size() : 0;
  if (!head.fine() || plane.lanes > most_lanes || words > n || alone > length) return false;
  plane.alone = static_cast<std::size_t>(alone);
  plane.size = 2 * static_cast<std::size_t>(words);
  return true;
}

void get_states(BitReader& head, Plane& plane) {
  for (unsigned lane = 0; lane < plane.lanes; ++lane) {
    const auto below = lowest_state_bits + static_cast<unsigned>(head.get(state_bits));
    plane.states[lane] = 1u << below | static_cast<std::uint32_t>(head.get(below));
  }
}

bool decode_plane(Plane& plane, const std::uint8_t* body, std::uint8_t* out,
                  std::size_t length, Level level) {
  Frequencies frequencies;
  to_frequencies(plane.weights, plane.bits, frequencies);
  return rans_decode(body, plane.size / 2, plane.states, plane.lanes, frequencies, plane.bits, out, length,
                     plane.alone, level);
}

// ---- Writing

void put_levels(BitWriter& head, const std::uint8_t* levels) {
  int last = 0;
  for (std::size_t at = 0; at < symbols; ++at) {
    if (last == 0) {
      const auto* next = std::find_if(levels + at, levels + symbols, [](auto v) { return v != 0; });
      const auto run = static_cast<std::size_t>(next - (levels + at));
      head.put_gamma(static_cast<std::uint32_t>(run + 1));
      at += run;
      if (at == symbols) return;
      head.put(levels[at] - 1u, std::bit_width(most_level - 1));
    } else {
      const int step = levels[at] - last;
      head.put_gamma(static_cast<std::uint32_t>(2 * (step < 0 ? -step : step) - (step > 0) + 1));
    }
    last = levels[at];
  }
}

void put_weights(BitWriter& head, const Weights& weights) {
  std::uint8_t levels[symbols];
  for (std::size_t s = 0; s < symbols; ++s) levels[s] = static_cast<std::uint8_t>(std::bit_width(weights[s]));
  put_levels(head, levels);
  for (std::size_t s = 0; s < symbols; ++s) {
    if (levels[s] <= 1) continue;
    const unsigned below = levels[s] - 1u, kept = std::min(below, kept_bits);
    head.put(weights[s] >> (below - kept) & ((1u << kept) - 1), kept);
  }
}

void put_states(BitWriter& head, const std::uint32_t* states, unsigned lanes) {
  for (unsigned lane = 0; lane < lanes; ++lane) {
    const auto below = static_cast<unsigned>(std::bit_width(states[lane])) - 1;
    head.put(below - lowest_state_bits, state_bits);
    head.put(states[lane] - (1u << below), below);
  }
}

// Bits that the symbols take at least, in units of 2^-16; n <= 2^16.
std::int64_t entropy(const Histogram& counts, std::size_t n, const std::int64_t* log2) {
  std::int64_t sum = 0;
  for (const std::uint64_t count : counts) sum += static_cast<std::int64_t>(count) * (log2[n] - log2[count]);
  return sum;
}

// Bits that a plane takes, about.
std::uint64_t estimate(const std::uint8_t* plane, std::size_t n, const std::int64_t* log2) {
  Histogram counts;
  histogram(plane, n, counts);
  const auto occurring = symbols - static_cast<std::size_t>(std::count(counts, counts + symbols, 0u));
  const auto least = static_cast<std::uint64_t>(entropy(counts, n, log2) >> fraction);
  return std::min<std::uint64_t>(8 * n, symbol_bits * occurring + least);
}

// The form in which samples of the data take the fewest bits; among equals the first.
std::size_t choose_form(const std::uint8_t* data, std::size_t n, const std::int64_t* log2) {
  const std::size_t length = n / 8 * 8, step = std::max(sample_bytes, length / samples / 8 * 8);
  auto sample = buffer(sample_bytes * samples), planes = buffer(sample_bytes * samples);
  std::size_t size = 0, taken = 0;
  for (std::size_t at = 0; at < n && taken < samples; at += step, ++taken) {
    const std::size_t part = std::min(sample_bytes, n - at);
    std::memcpy(sample.get() + size, data + at, part);
    size += part;
  }
  if (n > sample_bytes) size = size / 8 * 8;
  std::size_t best = 0;
  std::uint64_t least = ~std::uint64_t{0};
  for (std::size_t form = 0; form < std::size(forms); ++form) {
    const auto [width, turned] = forms[form];
    if (n % width != 0) continue;
    const std::size_t each = size / width;
    split_planes(sample.get(), each, width, turned, planes.get());
    std::uint64_t cost = 0;
    for (unsigned p = 0; p < width; ++p) cost += estimate(planes.get() + p * each, each, log2);
    if (cost < least) {
      least = cost;
      best = form;
    }
  }
  return best;
}

// Counts relative to the largest, in four significant bits; 1 at least where one is.
void to_weights(const Histogram& counts, Weights& weights) {
  const std::uint64_t most = *std::max_element(counts, counts + symbols);
  for (std::size_t s = 0; s < symbols; ++s) {
    const std::uint64_t scaled = (counts[s] * heaviest + most / 2) / most;
    const std::uint64_t weight = std::max<std::uint64_t>(scaled, counts[s] > 0);
    const int drop = std::max(static_cast<int>(std::bit_width(weight)) - 1 - static_cast<int>(kept_bits), 0);
    const std::uint64_t half = (std::uint64_t{1} << drop) >> 1;
    weights[s] = static_cast<std::uint32_t>((weight + half) >> drop << drop);
  }
}

struct Precision {
  unsigned bits;
  std::uint64_t cost;
};

Precision choose_precision(const Histogram& counts, const Weights& weights, const std::int64_t* log2) {
  constexpr unsigned choices = most_bits - least_bits + 1;
  std::uint64_t costs[choices];
  for (unsigned i = 0; i < choices; ++i) {
    const unsigned bits = least_bits + i;
    Frequencies frequencies;
    to_frequencies(weights, bits, frequencies);
    std::int64_t sum = 0;
    for (std::size_t s = 0; s < symbols; ++s) {
      const std::int64_t each = (std::int64_t{bits} << fraction) - log2[frequencies[s]];
      sum += static_cast<std::int64_t>(counts[s]) * each;
    }
    costs[i] = static_cast<std::uint64_t>(sum >> fraction);
  }
  const std::uint64_t least = *std::min_element(costs, costs + choices), limit = least + least / worth;
  const auto* chosen = std::find_if(costs, costs + choices, [&](auto cost) { return cost <= limit; });
  return {least_bits + static_cast<unsigned>(chosen - costs), *chosen};
}

// Whether samples of a large plane are as uneven as those of noise.
bool is_noise(const std::uint8_t* plane, std::size_t n, const std::int64_t* log2) {
  if (n < noise_least) return false;
  std::uint8_t sample[samples * noise_sample];
  for (std::size_t i = 0; i < samples; ++i) {
    std::memcpy(sample + i * noise_sample, plane + n / samples * i, noise_sample);
  }
  Histogram counts;
  histogram(sample, sizeof sample, counts);
  return entropy(counts, sizeof sample, log2) >= ((8 << fraction) - noise_bits) * std::int64_t{sizeof sample};
}

// What the second part of the head tells of a plane; no lanes: it stands as it is.
struct Model {
  unsigned lanes = 0;
  Weights weights;
  std::uint32_t states[most_lanes];
};

// How the plane is coded goes into the head, its words, or its bytes, into the body.
void encode_plane(const std::uint8_t* plane, std::size_t n, const std::int64_t* log2, BitWriter& head,
                  Model& model, std::vector<RansPayload::Piece>& body, std::uint16_t* words, Level level) {
  if (is_noise(plane, n, log2)) {
    head.put(0, 1);
    body.push_back({plane, n});
    return;
  }
  Histogram counts;
  histogram(plane, n, counts);
  to_weights(counts, model.weights);
  const auto [bits, cost] = choose_precision(counts, model.weights, log2);
  unsigned lanes = 1;
  while (lanes < most_lanes && per_lanes * 4 * lanes * lanes <= cost / 8) lanes *= 2;
  const auto occurring = symbols - static_cast<std::size_t>(std::count(counts, counts + symbols, 0u));
  if (symbol_bits * occurring + cost + 12 * lanes + 16 >= 8 * n) {
    head.put(0, 1);
    body.push_back({plane, n});
    return;
  }
  Frequencies frequencies;
  to_frequencies(model.weights, bits, frequencies);
  model.lanes = lanes;
  const auto [missing, start, alone] =
      rans_encode(plane, n, frequencies, bits, lanes, model.states, words, level);
  head.put(1, 1);
  head.put(bits - least_bits, 2);
  head.put(static_cast<unsigned>(std::bit_width(lanes)) - 1, 3);
  head.put_size(n - start);
  if (lanes > 1) head.put_size(alone);
  body.push_back({reinterpret_cast<const std::uint8_t*>(words + start), 2 * (n - start)});
}

}  // namespace

void to_frequencies(const std::uint32_t* weights, unsigned bits, std::uint32_t* frequencies) {
  const std::uint32_t total = 1u << bits;
  const auto whole = std::accumulate(weights, weights + symbols, std::uint64_t{0});
  std::uint32_t rare = 0, others = 0, so_far = 0, before = 0;  // weights sum up to 2^26 at most
  const auto is_rare = [&](std::uint64_t w) { return w != 0 && w * total < 2 * whole; };
  for (std::size_t s = 0; s < symbols; ++s) {
    const bool one = is_rare(weights[s]);
    rare += one;
    others += one ? 0 : weights[s];
  }
  // A double holds the product, and is exact enough: a quotient that is no whole number is 2^-26 below the
  // next one at least, and its rounding is 2^-38 at most; and it is quick.
  const double share = total - rare, all = others;
  for (std::size_t s = 0; s < symbols; ++s) {
    const bool one = is_rare(weights[s]);
    so_far += one ? 0 : weights[s];
    const auto upper = static_cast<std::uint32_t>(so_far * share / all);
    frequencies[s] = upper - before + one;
    before = upper;
  }
}

bool rans_counts(const std::uint8_t* payload, std::size_t n, std::size_t count) {
  BitReader head(payload, n);
  return head.get_size() == count && head.fine() && count > 0;
}

bool rans_read(const std::uint8_t* payload, std::size_t n, std::uint8_t* out, std::size_t count,
               Level level) {
  BitReader head(payload, n);
  if (head.get_size() != count || count == 0) return false;
  const auto form = head.get(3);
  if (!head.fine() || form >= std::size(forms) || count % forms[form].width != 0) return false;
  const auto [width, turned] = forms[form];
  const std::size_t length = count / width;
  Plane planes[8];
  std::size_t stored = 0;
  for (unsigned p = 0; p < width; ++p) {
    if (!read_plane(head, length, n, planes[p])) return false;
    stored += planes[p].size;
  }
  if (stored > n) return false;
  for (unsigned p = 0; p < width; ++p) {
    if (planes[p].lanes == 0) continue;
    get_weights(head, planes[p].weights);
    if (!head.fine()) return false;
    get_states(head, planes[p]);
  }
  std::size_t at = 0;
  if (!head.end(at) || at + stored != n) return false;
  const auto coded = static_cast<std::size_t>(std::count_if(planes, planes + width, [](auto& p) { return p.lanes > 0; }));
  Buffer own;
  std::uint8_t* into = width == 1 ? out : memory(coded * length, own);
  const std::uint8_t* each[8];
  for (unsigned p = 0; p < width; at += planes[p++].size) {
    each[p] = planes[p].lanes > 0 ? into : payload + at;
    if (planes[p].lanes == 0) continue;
    if (!decode_plane(planes[p], payload + at, into, length, level)) return false;
    into += length;
  }
  if (width > 1) join_planes(each, length, width, turned, out);
  if (width == 1 && coded == 0) std::memcpy(out, payload + at - length, length);
  return true;
}

std::size_t RansPayload::size() const {
  std::size_t sum = head.size();
  for (const Piece& piece : body) sum += piece.size;
  return sum;
}

void RansPayload::copy(std::uint8_t* out) const {
  out = std::copy(head.begin(), head.end(), out);
  for (const Piece& piece : body) out = std::copy_n(piece.bytes, piece.size, out);
}

RansPayload rans_write(const std::uint8_t* data, std::size_t n, const std::int64_t* log2, bool single,
                       Level level) {
  const std::size_t form = single ? 0 : choose_form(data, n, log2);
  const auto [width, turned] = forms[form];
  const std::size_t length = n / width;
  RansPayload payload;
  auto* words = reinterpret_cast<std::uint16_t*>(memory(2 * n + (width > 1 ? n : 0), payload.own));
  const std::uint8_t* from = data;
  if (width > 1) {
    auto* planes = reinterpret_cast<std::uint8_t*>(words + n);
    split_planes(data, length, width, turned, planes);
    from = planes;
  }
  BitWriter head(payload.head);
  head.put_size(n);
  head.put(form, 3);
  Model models[8];
  for (unsigned p = 0; p < width; ++p) {
    encode_plane(from + p * length, length, log2, head, models[p], payload.body, words + p * length, level);
  }
  for (unsigned p = 0; p < width; ++p) {
    if (models[p].lanes == 0) continue;
    put_weights(head, models[p].weights);
    put_states(head, models[p].states, models[p].lanes);
  }
  head.end();
  return payload;
}

}  // namespace tersor
