// Which of the next words each of eight lanes takes, for each mask of lanes that take one.

#pragma once

#include <array>
#include <cstdint>

namespace tersor {

inline constexpr auto word_order = [] {
  std::array<std::array<std::uint32_t, 8>, 256> result{};
  for (unsigned mask = 0; mask < 256; ++mask) {
    std::uint32_t next = 0;
    for (unsigned lane = 0; lane < 8; ++lane) {
      result[mask][lane] = next;
      next += mask >> lane & 1;
    }
  }
  return result;
}();

// The reverse: the lanes in a mask, one after the other; behind them the first.
inline constexpr auto packed_order = [] {
  std::array<std::array<std::uint32_t, 8>, 256> result{};
  for (unsigned mask = 0; mask < 256; ++mask) {
    unsigned found = 0;
    for (std::uint32_t lane = 0; lane < 8; ++lane) {
      if (mask >> lane & 1) result[mask][found++] = lane;
    }
  }
  return result;
}();

}  // namespace tersor
