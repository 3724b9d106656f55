// Positions of what is not zero, as gaps. Definition: reference.py, find_gaps() and fill_gaps().

#include <cstring>

#include "kernels.hpp"

namespace tersor {

constexpr std::uint8_t no_value = 255;  // a gap that only passes 255 zeros

Counts find_gaps(const std::uint8_t* data, std::size_t n, std::uint8_t* gaps, std::uint8_t* values) {
  Counts counts{0, 0};
  std::uint8_t gap = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (data[i] != 0) {
      gaps[counts.gaps++] = gap;
      values[counts.values++] = data[i];
      gap = 0;
    } else if (++gap == no_value) {
      gaps[counts.gaps++] = no_value;
      gap = 0;
    }
  }
  return counts;
}

bool fill_gaps(const std::uint8_t* gaps, std::size_t n_gaps, const std::uint8_t* values,
               std::size_t n_values, std::uint8_t* data, std::size_t n) {
  std::memset(data, 0, n);
  std::size_t at = 0, used = 0;
  for (std::size_t i = 0; i < n_gaps; ++i) {
    if (n - at < gaps[i]) return false;
    at += gaps[i];
    if (gaps[i] == no_value) continue;
    if (at == n || used == n_values || values[used] == 0) return false;
    data[at++] = values[used++];
  }
  return used == n_values && n - at < no_value;
}

}  // namespace tersor
