// Static range ANS: states of 32 bits in `lanes` lanes, words of 16 bits.
// Definition: reference.py, rans_encode() and rans_decode().
//
// Source: Duda, "Asymmetric numeral systems", arXiv:1311.2540; interleaving: Giesen,
// "Interleaved entropy coders", arXiv:1402.3392.

#include <algorithm>
#include <cstring>

#include "kernels.hpp"

namespace tersor {
namespace {

// x / f is the high word of x * inverse; for f = 1, one less, which bias and rest make up for.
struct Step {
  std::uint64_t inverse;
  std::uint32_t limit;
  std::uint16_t bias, rest;  // below 2^16, because start + total is at most that
};

void prepare(const std::uint32_t* frequencies, unsigned bits, Step* steps) {
  std::uint32_t start = 0;
  const std::uint32_t total = 1u << bits;
  for (unsigned s = 0; s < 256; ++s) {
    const std::uint32_t f = frequencies[s];
    if (f == 0) continue;
    const std::uint64_t top = ~std::uint64_t{0};
    steps[s].inverse = f == 1 ? top : top / f + 1;
    steps[s].bias = static_cast<std::uint16_t>(f == 1 ? start + total - 1 : start);
    steps[s].rest = static_cast<std::uint16_t>(total - f);
    steps[s].limit = static_cast<std::uint32_t>((std::uint64_t{f} << (32 - bits)) - 1);
    start += f;
  }
}

inline std::uint32_t high(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint32_t>(static_cast<Wide>(a) * b >> 64);
}

// Words from the last to the first; the place before them may be written.
struct Writer {
  const Step* steps;
  std::uint16_t* at;
  bool missing = false;

  // The state after a symbol, from that before.
  std::uint32_t put(std::uint8_t symbol, std::uint32_t x) {
    const Step& step = steps[symbol];
    missing |= step.inverse == 0;
    at[-1] = static_cast<std::uint16_t>(x);  // counts only if x is too large
    const bool large = x > step.limit;
    at -= large;
    x ^= (x ^ x >> 16) & (0u - large);
    return x + step.bias + high(x, step.inverse) * step.rest;
  }
};

inline std::uint16_t word(const std::uint8_t* at) {
  std::uint16_t value;
  std::memcpy(&value, at, 2);
  return value;
}

// Sixteen entries at a time: those behind a symbol are written again by the next one.
void fill(const std::uint32_t* frequencies, unsigned bits, RansTable& table) {
  using Entries = std::uint32_t __attribute__((vector_size(4 * RansTable::ahead)));
  constexpr std::uint32_t step = 1u << 8;
  const Entries steps = Entries{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} * step;
  table.bits = bits;
  std::uint32_t slot = 0;
  for (std::uint32_t s = 0; s < 256; ++s) {
    const std::uint32_t f = frequencies[s];
    if (f == 0) continue;
    if (bits != least_bits) {
      table.entries[s] = slot | f << 16;
      std::memset(table.symbols + slot, static_cast<int>(s), f);
    } else {
      Entries entries = steps + (s | (f - 1) << 20);
      for (std::uint32_t i = 0; i < f; i += RansTable::ahead, entries += RansTable::ahead * step) {
        std::memcpy(table.entries + slot + i, &entries, sizeof entries);
      }
    }
    slot += f;
  }
}

struct Found {
  std::uint32_t state;
  std::uint8_t symbol;
};

template <bool wide>
inline Found look(const RansTable& table, std::uint32_t x) {
  const unsigned bits = wide ? table.bits : least_bits;
  const std::uint32_t slot = x & ((1u << bits) - 1), upper = x >> bits;
  if constexpr (wide) {
    const std::uint8_t symbol = table.symbols[slot];
    const std::uint32_t entry = table.entries[symbol];
    return {(entry >> 16) * upper + slot - (entry & 0xffff), symbol};
  }
  const std::uint32_t entry = table.entries[slot];
  return {(entry >> 20) * upper + upper + (entry >> 8 & 0xfff), static_cast<std::uint8_t>(entry)};
}

// All ones below 2^16.
inline std::uint32_t is_low(std::uint32_t x) {
  return static_cast<std::uint32_t>((static_cast<std::int64_t>(x) - lowest_state) >> 63);
}

// One round of symbols of all lanes, as long as words cannot run out.
template <unsigned lanes, bool wide>
std::size_t rounds(const RansTable& table, RansInput& in, std::uint32_t* states, std::uint8_t* out,
                   std::size_t n) {
  std::uint32_t now[lanes];
  std::memcpy(now, states, sizeof now);
  const std::uint8_t *words = in.words + 2 * in.at, *end = in.words + 2 * in.count;
  std::size_t done = 0;
  for (; n - done >= lanes && end - words >= std::ptrdiff_t{2 * lanes}; done += lanes) {
#pragma GCC unroll 8
    for (unsigned lane = 0; lane < lanes; ++lane) {
      const auto [x, symbol] = look<wide>(table, now[lane]);
      out[done + lane] = symbol;
      const std::uint32_t low = is_low(x);
      now[lane] = x ^ ((x ^ (x << 16 | word(words))) & low);
      words += 2 & low;
    }
  }
  in.at = static_cast<std::size_t>(words - in.words) / 2;
  std::memcpy(states, now, sizeof now);
  return done;
}

template <bool wide>
RansRounds rounds_of(unsigned lanes) {
  constexpr RansRounds by_log2[] = {rounds<1, wide>,  rounds<2, wide>,  rounds<4, wide>, rounds<8, wide>,
                                    rounds<16, wide>, rounds<32, wide>, rounds<64, wide>};
  return by_log2[std::countr_zero(lanes)];
}

// One symbol after the other, whatever is left. False if words end too early.
template <bool wide>
bool one_by_one(const RansTable& table, RansInput& in, std::uint32_t* states, unsigned lanes,
                std::uint8_t* out, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    std::uint32_t& state = states[i & (lanes - 1)];
    const auto [x, symbol] = look<wide>(table, state);
    out[i] = symbol;
    const std::uint32_t low = is_low(x);
    if (in.at == in.count) {
      if (low != 0) return false;
      state = x;
    } else {
      state = x ^ ((x ^ (x << 16 | word(in.words + 2 * in.at))) & low);
      in.at += 1 & low;
    }
  }
  return true;
}

bool one_by_one(const RansTable& table, RansInput& in, std::uint32_t* states, unsigned lanes,
                std::uint8_t* out, std::size_t n) {
  const auto run = table.bits == least_bits ? one_by_one<false> : one_by_one<true>;
  return run(table, in, states, lanes, out, n);
}

bool is_constant(const std::uint32_t* frequencies, unsigned bits, std::uint8_t& symbol) {
  for (unsigned s = 0; s < 256; ++s) {
    symbol = static_cast<std::uint8_t>(s);
    if (frequencies[s] == 1u << bits) return true;
    if (frequencies[s] != 0) return false;
  }
  return false;
}

// What all lanes have together. False if words end too early.
bool together(const RansTable& table, RansInput& in, std::uint32_t* states, unsigned lanes,
              std::uint8_t* out, std::size_t n, Level level) {
  const bool wide = table.bits != least_bits;
  RansRounds run = nullptr;
#ifdef TERSOR_X86
  if (level == Level::avx512) run = rans_rounds_avx512(lanes, wide);
  if (level == Level::avx2) run = rans_rounds_avx2(lanes, wide);
#else
  static_cast<void>(level);
#endif
  if (run == nullptr) run = wide ? rounds_of<true>(lanes) : rounds_of<false>(lanes);
  std::size_t done = run(table, in, states, out, n);
  // The last words, with zeros behind them to read on without harm.
  std::uint8_t tail[2 * 2 * most_lanes] = {};
  const std::size_t left = in.count - in.at;
  if (left <= most_lanes) {
    std::memcpy(tail, in.words + 2 * in.at, 2 * left);
    RansInput rest{tail, left + lanes, 0};
    done += run(table, rest, states, out + done, n - done);
    if (rest.at > left) return false;
    in.at += rest.at;
  }
  return one_by_one(table, in, states, lanes, out + done, n - done);
}

// The last symbols: the first lane's, and their words are what the others have left.
bool alone(const RansTable& table, std::uint32_t* states, unsigned lanes, std::uint8_t* out, std::size_t n,
           bool all) {
  std::uint8_t words[2 * most_lanes];
  for (unsigned lane = 1; lane < lanes; ++lane) {
    if (states[lane] >> 16 != 1) return false;
    std::memcpy(words + 2 * (lane - 1), states + lane, 2);
    states[lane] = lowest_state;
  }
  RansInput in{words, lanes - 1, 0};
  if (!one_by_one(table, in, states, 1, out, n)) return false;
  const auto is_zero = [](std::uint8_t byte) { return byte == 0; };
  return in.at == in.count || (all && std::all_of(words + 2 * in.at, words + 2 * in.count, is_zero));
}

}  // namespace

RansOutput rans_encode(const std::uint8_t* symbols, std::size_t n, const std::uint32_t* frequencies,
                       unsigned bits, unsigned lanes, std::uint32_t* states, std::uint16_t* words, Level level) {
  alignas(64) Step steps[256] = {};
  prepare(frequencies, bits, steps);
  std::uint32_t now[most_lanes];
  std::fill_n(now, lanes, lowest_state);
  Writer out{steps, words + n};
  std::size_t rest = n;
  while (rest > 0 && words + n - out.at < static_cast<std::ptrdiff_t>(lanes) - 1) {
    now[0] = out.put(symbols[--rest], now[0]);
  }
  for (unsigned lane = 1; out.at < words + n; ++lane) now[lane] |= *out.at++;
  std::size_t i = rest;
  while (i % lanes != 0) {
    --i;
    now[i & (lanes - 1)] = out.put(symbols[i], now[i & (lanes - 1)]);
  }
#ifdef TERSOR_X86
  if (const auto run = level == Level::avx512 ? rans_writing_avx512(lanes) : nullptr) {
    std::uint32_t entries[256], start = 0;
    for (unsigned s = 0; s < 256; start += frequencies[s++]) {
      entries[s] = frequencies[s] << 16 | (frequencies[s] > 0 ? start : 0);
    }
    auto* at = out.at;  // a copy: what is referred to would not stay in a register
    out.missing |= !run(entries, bits, symbols, i, now, at);
    out.at = at;
    i = 0;
  }
#else
  static_cast<void>(level);
#endif
  while (i > 0) {
    i -= lanes;
    for (unsigned lane = lanes; lane-- > 0;) now[lane] = out.put(symbols[i + lane], now[lane]);
  }
  std::memcpy(states, now, lanes * sizeof *now);
  return {out.missing, static_cast<std::size_t>(out.at - words), n - rest};
}

bool rans_decode(const std::uint8_t* words, std::size_t n_words, std::uint32_t* states, unsigned lanes,
                 const std::uint32_t* frequencies, unsigned bits, std::uint8_t* out, std::size_t n,
                 std::size_t n_alone, Level level) {
  RansInput in{words, n_words, 0};
  if (lanes == 1 && n_alone > 0) return false;
  std::uint8_t only = 0;
  if (is_constant(frequencies, bits, only)) {
    std::memset(out, only, n);
    if (lanes > 1 && n_alone != n) return false;
  } else {
    alignas(64) RansTable table;
    fill(frequencies, bits, table);
    const std::size_t most = n - n_alone;
    if (!together(table, in, states, lanes, out, most, level)) return false;
    if (!alone(table, states, lanes, out + most, n_alone, most == 0)) return false;
  }
  const auto is_lowest = [](std::uint32_t state) { return state == lowest_state; };
  return in.at == in.count && std::all_of(states, states + lanes, is_lowest);
}

}  // namespace tersor
