// What Python sees. Shapes and ranges are checked here, so that no call can do harm;
// whether bytes are well formed, the kernels say. Python's lock is free meanwhile.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels.hpp"

namespace nb = nanobind;
using namespace tersor;

namespace {

constexpr int interface = 11;  // as in choose.py: whoever changes a signature changes both

template <typename T>
using Out = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using In = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Bytes = In<std::uint8_t>;
using Target = Out<std::uint8_t>;
using Free = nb::call_guard<nb::gil_scoped_release>;

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

bool supported(int level) {
#ifdef TERSOR_X86
  if (level == static_cast<int>(Level::avx2)) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("pclmul");
  }
  if (level == static_cast<int>(Level::avx512)) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && supported(static_cast<int>(Level::avx2));
  }
#endif
  return level == static_cast<int>(Level::portable);
}

std::vector<std::string> levels() {
  std::vector<std::string> found;
  const std::array<const char*, 3> names{"portable", "avx2", "avx512"};
  for (int level = 0; level < 3; ++level) {
    if (supported(level)) found.emplace_back(names[static_cast<std::size_t>(level)]);
  }
  return found;
}

void check_model(const In<std::uint32_t>& frequencies, unsigned bits, std::size_t lanes) {
  require(bits >= least_bits && bits <= most_bits, "bits");
  require(lanes >= 1 && lanes <= most_lanes && std::has_single_bit(lanes), "lanes");
  require(frequencies.size() == 256, "frequencies");
  const auto* begin = frequencies.data();
  const auto sum = std::accumulate(begin, begin + 256, std::uint64_t{0});
  require(sum == std::uint64_t{1} << bits, "sum of frequencies");
}

void check_codes(const Bytes& lengths) {
  require(lengths.size() == 256, "lengths");
  std::uint32_t used = 0;
  for (std::size_t s = 0; s < 256; ++s) {
    require(lengths.data()[s] <= most_code_bits, "length");
    if (lengths.data()[s] != 0) used += 1u << (most_code_bits - lengths.data()[s]);
  }
  require(used <= 1u << most_code_bits, "sum of codes");
}

void bind_rans(nb::module_& m) {
  m.def(
      "rans_encode",
      [](Bytes symbols, In<std::uint32_t> frequencies, unsigned bits, Out<std::uint32_t> states,
         Out<std::uint16_t> words, int level) {
        require(supported(level), "level");
        check_model(frequencies, bits, states.size());
        require(words.size() == symbols.size(), "words");
        const auto found = rans_encode(symbols.data(), symbols.size(), frequencies.data(), bits,
                                       static_cast<unsigned>(states.size()), states.data(), words.data(),
                                       static_cast<Level>(level));
        const std::ptrdiff_t start = found.missing ? -1 : static_cast<std::ptrdiff_t>(found.start);
        return std::pair{start, found.alone};
      },
      Free());
  m.def(
      "rans_decode",
      [](Bytes words, Out<std::uint32_t> states, In<std::uint32_t> frequencies, unsigned bits,
         Target out, std::size_t alone, int level) {
        check_model(frequencies, bits, states.size());
        require(words.size() % 2 == 0, "words");
        require(alone <= out.size(), "alone");
        require(supported(level), "level");
        return rans_decode(words.data(), words.size() / 2, states.data(),
                           static_cast<unsigned>(states.size()), frequencies.data(), bits,
                           out.data(), out.size(), alone, static_cast<Level>(level));
      },
      Free());
}

// A Python object of so many bytes, yet to be written.
nb::object new_bytes(std::size_t count) {
  nb::object found = nb::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(count)));
  if (!found.is_valid()) throw std::bad_alloc();
  return found;
}

std::uint8_t* bytes_of(const nb::object& object) {
  return reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(object.ptr()));
}

using Says = bool (*)(const std::uint8_t*, std::size_t, std::size_t);
using Read = bool (*)(const std::uint8_t*, std::size_t, std::uint8_t*, std::size_t, Level);

// Whole payloads: as new bytes, or None; nothing is allocated before the payload says how many there are.
// Or into what they fill: whether they are fine.
void bind_reading(nb::module_& m, const std::string& name, Says says, Read read) {
  m.def((name + "_bytes").c_str(), [says, read](Bytes payload, std::size_t count, int level) -> nb::object {
    require(supported(level), "level");
    if (!says(payload.data(), payload.size(), count)) return nb::none();
    nb::object found = new_bytes(count);
    bool fine = false;
    {
      const nb::gil_scoped_release free;
      fine = read(payload.data(), payload.size(), bytes_of(found), count, static_cast<Level>(level));
    }
    return fine ? found : nb::none();
  });
  m.def(
      (name + "_read").c_str(),
      [read](Bytes payload, Target out, int level) {
        require(supported(level), "level");
        return read(payload.data(), payload.size(), out.data(), out.size(), static_cast<Level>(level));
      },
      Free());
}

void bind_payloads(nb::module_& m) {
  m.def("rans_write", [](Bytes data, In<std::int64_t> log2, bool single, int level) {
    require(supported(level), "level");
    require(data.size() >= 1, "data");
    require(log2.size() == (1u << 16) + 1, "log2");
    RansPayload payload;
    {
      const nb::gil_scoped_release free;
      payload = rans_write(data.data(), data.size(), log2.data(), single, static_cast<Level>(level));
    }
    nb::object found = new_bytes(payload.size());
    const nb::gil_scoped_release free;
    payload.copy(bytes_of(found));
    return found;
  });
  bind_reading(m, "rans", rans_counts, rans_read);
  bind_reading(m, "lanes", integers_count, lanes_read);
}

void bind_huffman(nb::module_& m) {
  m.def(
      "huffman_encode",
      [](Bytes symbols, Bytes lengths, Target out) {
        check_codes(lengths);
        require(out.size() >= (symbols.size() * most_code_bits + 7) / 8 + 8, "out");
        return huffman_encode(symbols.data(), symbols.size(), lengths.data(), out.data());
      },
      Free());
  m.def(
      "huffman_decode",
      [](Bytes bytes, Bytes lengths, Target out) {
        check_codes(lengths);
        return huffman_decode(bytes.data(), bytes.size(), lengths.data(), out.data(), out.size());
      },
      Free());
}

// Rows of (size, channels, kernel, width).
std::vector<TensorShape> shapes_of(const In<std::int64_t>& given, std::size_t n_values) {
  require(given.size() % 4 == 0, "shapes");
  std::vector<TensorShape> shapes;
  std::size_t total = 0;
  for (std::size_t i = 0; i < given.size(); i += 4) {
    for (std::size_t j = i; j < i + 4; ++j) {
      require(given.data()[j] >= 1 && given.data()[j] <= std::int64_t{1} << 31, "shape");
    }
    const auto at = [&](std::size_t j) { return static_cast<std::size_t>(given.data()[i + j]); };
    require(at(1) * at(2) <= at(0), "row");
    shapes.push_back({at(0), at(1), at(2), at(3)});
    total += at(0);
  }
  require(total == n_values, "values");
  return shapes;
}

void check_magnitudes(const std::int16_t* values, std::size_t n) {
  bool large = false;  // without an early end, so that many are looked at together
  for (std::size_t i = 0; i < n; ++i) large |= values[i] < -255 || values[i] > 255;
  require(!large, "magnitude");
}

using Encode = std::ptrdiff_t (*)(std::int16_t*, const TensorShape*, std::size_t, std::uint8_t*, std::size_t);
using Decode = bool (*)(const std::uint8_t*, std::size_t, const TensorShape*, std::size_t, std::int16_t*);

void bind_adaptive(nb::module_& m, const std::string& name, Encode encode, Decode decode) {
  m.def(
      (name + "_encode").c_str(),
      [encode](Out<std::int16_t> values, In<std::int64_t> given, Target out) {
        const auto shapes = shapes_of(given, values.size());
        check_magnitudes(values.data(), values.size());
        return encode(values.data(), shapes.data(), shapes.size(), out.data(), out.size());
      },
      Free());
  m.def(
      (name + "_decode").c_str(),
      [decode](Bytes bytes, In<std::int64_t> given, Out<std::int16_t> values) {
        const auto shapes = shapes_of(given, values.size());
        return decode(bytes.data(), bytes.size(), shapes.data(), shapes.size(), values.data());
      },
      Free());
}

void bind_lanes(nb::module_& m) {
  m.def(
      "lanes_encode",
      [](In<std::int64_t> log2, In<std::int16_t> values, In<std::int64_t> given, Target out) {
        const auto shapes = shapes_of(given, values.size());
        require(values.size() >= 1, "values");
        require(log2.size() == (1u << 16) + 1, "log2");
        check_magnitudes(values.data(), values.size());
        return lanes_encode(values.data(), shapes.data(), shapes.size(), log2.data(), out.data(), out.size());
      },
      Free());
  m.def(
      "lanes_decode",
      [](int level, Bytes bytes, In<std::int64_t> given, Out<std::int16_t> values) {
        const auto shapes = shapes_of(given, values.size());
        require(supported(level), "level");
        return lanes_decode(bytes.data(), bytes.size(), shapes.data(), shapes.size(), values.data(),
                            static_cast<Level>(level));
      },
      Free());
}

void bind_planes(nb::module_& m) {
  const auto check = [](std::size_t from, std::size_t to, unsigned width) {
    require(width <= 8 && std::has_single_bit(width), "width");
    require(from == to && from % width == 0, "size");
  };
  m.def(
      "split_planes",
      [check](Bytes data, unsigned width, bool rotate, Target planes) {
        check(data.size(), planes.size(), width);
        split_planes(data.data(), data.size() / width, width, rotate, planes.data());
      },
      Free());
  m.def(
      "join_planes",
      [check](Bytes planes, unsigned width, bool rotate, Target data) {
        check(planes.size(), data.size(), width);
        join_planes(planes.data(), data.size() / width, width, rotate, data.data());
      },
      Free());
}

void bind_small(nb::module_& m) {
#ifdef TERSOR_X86
  m.def(
      "crc32",
      [](Bytes data, std::uint32_t before) {
        require(supported(static_cast<int>(Level::avx2)), "level");
        return crc32_avx2(data.data(), data.size(), before);
      },
      Free());
#endif
  m.def(
      "histogram8",
      [](Bytes data, Out<std::uint64_t> counts) {
        require(counts.size() == 256, "counts");
        histogram(data.data(), data.size(), counts.data());
      },
      Free());
  m.def(
      "histogram16",
      [](In<std::uint16_t> data, Out<std::uint64_t> counts) {
        require(counts.size() == 65536, "counts");
        histogram(data.data(), data.size(), counts.data());
      },
      Free());
  m.def(
      "pack_bits",
      [](In<std::uint16_t> codes, unsigned bits, Target packed) {
        require(bits >= 1 && bits <= 16, "bits");
        require(packed.size() == (codes.size() * bits + 7) / 8, "packed");
        const auto* end = codes.data() + codes.size();
        const auto fits = [bits](std::uint16_t code) { return code >> bits == 0; };
        require(std::all_of(codes.data(), end, fits), "codes");
        pack_bits(codes.data(), codes.size(), bits, packed.data());
      },
      Free());
  m.def(
      "unpack_bits",
      [](Bytes packed, unsigned bits, Out<std::uint16_t> codes) {
        require(bits >= 1 && bits <= 16, "bits");
        require(packed.size() == (codes.size() * bits + 7) / 8, "packed");
        unpack_bits(packed.data(), codes.size(), bits, codes.data());
      },
      Free());
  m.def(
      "read_levels",
      [](Bytes data, std::size_t at, unsigned most, Target levels) {
        require(most >= 1 && most <= 255, "most");
        require(at <= 8 * data.size(), "at");
        require(levels.size() == 256, "levels");
        return read_levels(data.data(), data.size(), at, most, levels.data());
      },
      Free());
  m.def(
      "find_gaps",
      [](Bytes data, Target gaps, Target values) {
        require(gaps.size() >= data.size() + data.size() / 255 + 1, "gaps");
        require(values.size() >= data.size(), "values");
        const Counts counts = find_gaps(data.data(), data.size(), gaps.data(), values.data());
        return std::pair(counts.gaps, counts.values);
      },
      Free());
  m.def(
      "fill_gaps",
      [](Bytes gaps, Bytes values, Target data) {
        return fill_gaps(gaps.data(), gaps.size(), values.data(), values.size(), data.data(),
                         data.size());
      },
      Free());
}

}  // namespace

NB_MODULE(_native, m) {
  m.attr("INTERFACE") = interface;
  m.def("levels", &levels);
  bind_rans(m);
  bind_payloads(m);
  bind_huffman(m);
  bind_adaptive(m, "context", context_encode, context_decode);
  bind_adaptive(m, "mixing", mixing_encode, mixing_decode);
  bind_lanes(m);
  bind_planes(m);
  bind_small(m);
}
