// Counts of symbols. Definition: reference.py, histogram().

#include <cstring>
#include <memory>

#include "kernels.hpp"

namespace tersor {
namespace {

// Neighbours are counted in different tables, so that runs of one symbol do not wait for themselves.
template <typename Symbol, std::size_t values>
void count(const Symbol* data, std::size_t n, std::uint64_t* counts, std::uint32_t* tables) {
  constexpr std::size_t ways = 4, most = std::size_t{1} << 31;
  std::memset(counts, 0, values * sizeof *counts);
  while (n > 0) {
    const std::size_t part = n < most ? n : most;
    std::memset(tables, 0, ways * values * sizeof *tables);
    std::size_t i = 0;
    for (; i + ways <= part; i += ways) {
      for (std::size_t way = 0; way < ways; ++way) ++tables[way * values + data[i + way]];
    }
    for (; i < part; ++i) ++tables[data[i]];
    for (std::size_t v = 0; v < ways * values; ++v) counts[v % values] += tables[v];
    data += part;
    n -= part;
  }
}

}  // namespace

void histogram(const std::uint8_t* data, std::size_t n, std::uint64_t* counts) {
  std::uint32_t tables[4 * 256];
  count<std::uint8_t, 256>(data, n, counts, tables);
}

void histogram(const std::uint16_t* data, std::size_t n, std::uint64_t* counts) {
  const std::unique_ptr<std::uint32_t[]> tables(new std::uint32_t[4 * 65536]);
  count<std::uint16_t, 65536>(data, n, counts, tables.get());
}

}  // namespace tersor
