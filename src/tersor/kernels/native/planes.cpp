// Elements of 1, 2, 4 or 8 bytes as planes of bytes, the highest first. With `rotate` the top bit
// goes to the bottom before, so that the exponent of a float starts its highest byte.
// Definition: reference.py, split_planes() and join_planes().

#include <algorithm>
#include <cstring>

#include "kernels.hpp"

namespace tersor {
namespace {

template <typename Word>
void split(const std::uint8_t* data, std::size_t n, bool rotate, std::uint8_t* planes) {
  constexpr unsigned width = sizeof(Word);
  const int by = rotate ? 1 : 0;
  for (std::size_t i = 0; i < n; ++i) {
    Word word;
    std::memcpy(&word, data + i * width, width);
    word = std::rotl(word, by);
    for (unsigned plane = 0; plane < width; ++plane) {
      planes[plane * n + i] = static_cast<std::uint8_t>(word >> (8 * (width - 1 - plane)));
    }
  }
}

template <typename Word>
void join(const std::uint8_t* const* given, std::size_t n, bool rotate, std::uint8_t* data) {
  constexpr unsigned width = sizeof(Word);
  const std::uint8_t* planes[width];  // a copy, which no byte that is written can change
  std::copy_n(given, width, planes);
  const int by = rotate ? 1 : 0;
  for (std::size_t i = 0; i < n; ++i) {
    Word word = 0;
    for (unsigned plane = 0; plane < width; ++plane) {
      word = static_cast<Word>(word | Word{planes[plane][i]} << (8 * (width - 1 - plane)));
    }
    word = std::rotr(word, by);
    std::memcpy(data + i * width, &word, width);
  }
}

}  // namespace

void split_planes(const std::uint8_t* data, std::size_t n, unsigned width, bool rotate,
                  std::uint8_t* planes) {
  if (width == 1) split<std::uint8_t>(data, n, rotate, planes);
  if (width == 2) split<std::uint16_t>(data, n, rotate, planes);
  if (width == 4) split<std::uint32_t>(data, n, rotate, planes);
  if (width == 8) split<std::uint64_t>(data, n, rotate, planes);
}

void join_planes(const std::uint8_t* const* planes, std::size_t n, unsigned width, bool rotate,
                 std::uint8_t* data) {
  if (width == 1) join<std::uint8_t>(planes, n, rotate, data);
  if (width == 2) join<std::uint16_t>(planes, n, rotate, data);
  if (width == 4) join<std::uint32_t>(planes, n, rotate, data);
  if (width == 8) join<std::uint64_t>(planes, n, rotate, data);
}

void join_planes(const std::uint8_t* planes, std::size_t n, unsigned width, bool rotate,
                 std::uint8_t* data) {
  const std::uint8_t* each[8];
  for (unsigned plane = 0; plane < width; ++plane) each[plane] = planes + plane * n;
  join_planes(each, n, width, rotate, data);
}

}  // namespace tersor
