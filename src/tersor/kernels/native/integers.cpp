// Bytes as small integers in rows, read as a whole. Definition: ../integers.py, decode_into().

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "bit_stream.hpp"
#include "kernels.hpp"

namespace tersor {
namespace {

constexpr std::uint64_t per_byte = 1u << 14, row = 1u << 12, most_tensors = 1u << 12;
constexpr std::uint64_t most_size = std::uint64_t{1} << 31;
constexpr int offset = 128;

// False if there are no such tensors of so many elements.
bool get_shapes(BitReader& head, std::size_t count, std::vector<TensorShape>& shapes) {
  const std::uint64_t number = head.get_gamma() - 1u;
  if (!head.fine() || number > most_tensors) return false;
  std::uint64_t left = count;
  for (std::uint64_t i = 0; i < number; ++i) {
    const std::uint64_t size = i + 1 < number ? head.get_size() : left;
    const std::uint64_t channels = head.get_size(), kernel = head.get_gamma(), width = head.get_gamma();
    if (!head.fine() || size < 1 || size > left || channels < 1 || channels > size) return false;
    if (size > most_size || channels * kernel > size) return false;
    left -= size;
    shapes.push_back({size, channels, kernel, width});
  }
  if (number == 0) shapes.push_back({count, std::min<std::size_t>(count, row), 1, 1});
  return number == 0 || left == 0;
}

// False if a value is none of the elements.
bool to_elements(const std::int16_t* values, std::uint8_t* out, std::size_t n, bool nibbles, bool is_signed,
                 int centre) {
  const int range = nibbles ? 16 : 256, least = (is_signed ? -range / 2 : 0) - centre;
  const auto lower = static_cast<std::int16_t>(least), upper = static_cast<std::int16_t>(least + range - 1);
  const auto middle = static_cast<std::int16_t>(centre);
  std::int16_t lowest = values[0], highest = values[0];
  for (std::size_t i = 0; i < (nibbles ? 2 * n : n); ++i) {
    lowest = std::min(lowest, values[i]);
    highest = std::max(highest, values[i]);
  }
  const auto element = [&](std::size_t i) { return static_cast<std::uint8_t>(values[i] + middle); };
  if (nibbles) {
    for (std::size_t i = 0; i < n; ++i) {
      out[i] = static_cast<std::uint8_t>((element(2 * i) & 15) | element(2 * i + 1) << 4);
    }
  } else {
    for (std::size_t i = 0; i < n; ++i) out[i] = element(i);
  }
  return lowest >= lower && highest <= upper;
}

}  // namespace

bool integers_count(const std::uint8_t* payload, std::size_t n, std::size_t count) {
  BitReader head(payload, n);
  return head.get_size() == count && head.fine() && count > 0 && count <= per_byte * (n + 1);
}

bool lanes_read(const std::uint8_t* payload, std::size_t n, std::uint8_t* out, std::size_t count,
                Level level) {
  BitReader head(payload, n);
  if (head.get_size() != count || count == 0 || count > per_byte * (n + 1)) return false;
  std::size_t at = 0;
  if (head.get(1) == 0) {
    if (!head.end(at) || n - at != count) return false;
    std::memcpy(out, payload + at, count);
    return true;
  }
  const bool nibbles = head.get(1) != 0, is_signed = head.get(1) != 0;
  const int centre = static_cast<int>(head.get(9)) - offset;
  const std::size_t elements = nibbles ? 2 * count : count;
  if (!head.fine() || elements > most_size) return false;
  std::vector<TensorShape> shapes;
  if (!get_shapes(head, elements, shapes)) return false;
  const std::uint64_t size = head.get_size();
  if (!head.end(at) || n - at != size) return false;
  const auto values = std::make_unique_for_overwrite<std::int16_t[]>(elements);
  if (!lanes_decode(payload + at, size, shapes.data(), shapes.size(), values.get(), level)) return false;
  return to_elements(values.get(), out, count, nibbles, is_signed, centre);
}

}  // namespace tersor
