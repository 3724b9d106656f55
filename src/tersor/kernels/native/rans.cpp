// Static range ANS: states of 32 bits in `lanes` lanes, words of 16 bits.
// Definition: reference.py, rans_encode() and rans_decode().
//
// Source: Duda, "Asymmetric numeral systems", arXiv:1311.2540; interleaving: Giesen,
// "Interleaved entropy coders", arXiv:1402.3392.

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

inline std::uint16_t word(const RansInput& in) {
  std::uint16_t value;
  std::memcpy(&value, in.words + 2 * in.at, 2);
  return value;
}

void fill(const std::uint32_t* frequencies, unsigned bits, RansTable& table) {
  table.bits = bits;
  std::uint32_t slot = 0;
  for (unsigned s = 0; s < 256; ++s) {
    const std::uint32_t f = frequencies[s];
    for (std::uint32_t i = 0; i < f; ++i, ++slot) {
      table.entries[slot] =
          bits == least_bits ? s | i << 8 | (f - 1) << 20 : i | (f - 1) << 16;
      table.symbols[slot] = static_cast<std::uint8_t>(s);
    }
  }
}

// One round of symbols of all lanes, as long as words cannot run out.
std::size_t rounds(const RansTable& table, RansInput& in, std::uint32_t* states, unsigned lanes,
                   std::uint8_t* out, std::size_t n) {
  const unsigned bits = table.bits, narrow = bits == least_bits;
  const std::uint32_t mask = (1u << bits) - 1, below = narrow ? 8 : 0, above = narrow ? 20 : 16;
  const std::uint32_t low = narrow ? 0xfff : 0xffff;
  std::uint32_t now[most_lanes];
  std::memcpy(now, states, lanes * sizeof *now);
  RansInput at = in;
  std::size_t done = 0;
  for (; n - done >= lanes && at.at + lanes <= at.count; done += lanes) {
    for (unsigned lane = 0; lane < lanes; ++lane) {
      std::uint32_t x = now[lane];
      const std::uint32_t slot = x & mask, entry = table.entries[slot];
      out[done + lane] = table.symbols[slot];
      const std::uint32_t upper = x >> bits;
      x = (entry >> above) * upper + upper + (entry >> below & low);
      const unsigned taken = x < lowest_state;
      x = x << (16 * taken) | (word(at) & (0u - taken));
      at.at += taken;
      now[lane] = x;
    }
  }
  in = at;
  std::memcpy(states, now, lanes * sizeof *now);
  return done;
}

// One symbol after the other, whatever is left. False if words end too early.
bool one_by_one(const RansTable& table, RansInput& in, std::uint32_t* states, unsigned lanes,
                std::uint8_t* out, std::size_t n) {
  const std::uint32_t mask = (1u << table.bits) - 1;
  const bool narrow = table.bits == least_bits;
  for (std::size_t i = 0; i < n; ++i) {
    std::uint32_t& x = states[i & (lanes - 1)];
    const std::uint32_t slot = x & mask, entry = table.entries[slot];
    const std::uint32_t offset = narrow ? entry >> 8 & 0xfff : entry & 0xffff;
    const std::uint32_t f = (narrow ? entry >> 20 : entry >> 16) + 1;
    out[i] = table.symbols[slot];
    x = f * (x >> table.bits) + offset;
    if (x < lowest_state) {
      if (in.at == in.count) return false;
      x = x << 16 | word(in);
      ++in.at;
    }
  }
  return true;
}

bool is_constant(const std::uint32_t* frequencies, unsigned bits, std::uint8_t& symbol) {
  for (unsigned s = 0; s < 256; ++s) {
    symbol = static_cast<std::uint8_t>(s);
    if (frequencies[s] == 1u << bits) return true;
    if (frequencies[s] != 0) return false;
  }
  return false;
}

}  // namespace

std::ptrdiff_t rans_encode(const std::uint8_t* symbols, std::size_t n,
                           const std::uint32_t* frequencies, unsigned bits, unsigned lanes,
                           std::uint32_t* states, std::uint16_t* words) {
  alignas(64) Step steps[256] = {};
  prepare(frequencies, bits, steps);
  std::uint32_t now[most_lanes];
  for (unsigned lane = 0; lane < lanes; ++lane) now[lane] = lowest_state;
  std::size_t at = n;
  bool missing = false;
  for (std::size_t i = n; i-- > 0;) {
    const Step& step = steps[symbols[i]];
    std::uint32_t& x = now[i & (lanes - 1)];
    missing |= step.inverse == 0;
    words[at - 1] = static_cast<std::uint16_t>(x);  // counts only if x is too large
    const unsigned out = x > step.limit;
    at -= out;
    const std::uint32_t y = x >> (16 * out);
    x = y + step.bias + high(y, step.inverse) * step.rest;
  }
  std::memcpy(states, now, lanes * sizeof *now);
  return missing ? -1 : static_cast<std::ptrdiff_t>(at);
}

bool rans_decode(const std::uint8_t* words, std::size_t n_words, std::uint32_t* states,
                 unsigned lanes, const std::uint32_t* frequencies, unsigned bits,
                 std::uint8_t* out, std::size_t n, Level level) {
  RansInput in{words, n_words, 0};
  std::uint8_t only = 0;
  if (is_constant(frequencies, bits, only)) {
    std::memset(out, only, n);
  } else {
    alignas(64) RansTable table;
    fill(frequencies, bits, table);
    RansRounds fast = nullptr;
#ifdef TERSOR_X86
    if (level == Level::avx512) fast = rans_rounds_avx512(lanes, bits != least_bits);
    if (level == Level::avx2) fast = rans_rounds_avx2(lanes, bits != least_bits);
#else
    static_cast<void>(level);
#endif
    std::size_t done = 0;
    if (fast == nullptr) {
      done = rounds(table, in, states, lanes, out, n);
    } else {
      done = fast(table, in, states, out, n);
      // The last words, with zeros behind them to read on without harm.
      std::uint8_t tail[2 * 2 * most_lanes] = {};
      const std::size_t left = in.count - in.at;
      if (left <= most_lanes) {
        std::memcpy(tail, in.words + 2 * in.at, 2 * left);
        RansInput rest{tail, left + lanes, 0};
        done += fast(table, rest, states, out + done, n - done);
        if (rest.at > left) return false;
        in.at += rest.at;
      }
    }
    if (!one_by_one(table, in, states, lanes, out + done, n - done)) return false;
  }
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if (states[lane] != lowest_state) return false;
  }
  return in.at == in.count;
}

}  // namespace tersor
