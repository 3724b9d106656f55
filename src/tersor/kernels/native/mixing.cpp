// The mixing coder. Definition: ../reference_mixing.py.

#include <array>

#include "adaptive.hpp"

namespace tersor {
namespace {

using i64 = std::int64_t;

constexpr int contexts = 7, sign_contexts = 5, places = 64;
constexpr u32 most = 255 << 8;  // of a mean
constexpr u32 last_memory = 14, late_memory = 46, part_memory = 30, column_memory = 64;
constexpr u32 numbers = 27 * 27;  // a context has no more values

// Of p / (1 - p): 256 ln, and back.
constexpr i32 most_logit = 2047;
constexpr std::array<i32, 33> knots{22,    36,    60,    98,    162,   267,   439,   720,   1179,
                                    1921,  3108,  4971,  7812,  11955, 17625, 24743, 32768, 40793,
                                    47911, 53581, 57724, 60565, 62428, 63615, 64357, 64816, 65097,
                                    65269, 65374, 65438, 65476, 65500, 65514};

constexpr i32 squash(i32 logit) {
  const i32 moved = logit + most_logit + 1;
  const auto knot = static_cast<std::size_t>(moved >> 7);
  return knots[knot] + ((knots[knot + 1] - knots[knot]) * (moved & 127) >> 7);
}

struct Stretch {
  std::int16_t of[one >> 4];
  constexpr Stretch() : of{} {
    std::size_t next = 0;
    for (i32 logit = -most_logit; logit <= most_logit; ++logit) {
      for (const auto end = static_cast<std::size_t>(squash(logit) >> 4); next <= end; ++next) {
        of[next] = static_cast<std::int16_t>(logit);
      }
    }
    while (next < one >> 4) of[next++] = most_logit;
  }
};
constexpr Stretch stretch;

inline u32 half(u32 mean) { return static_cast<u32>(logarithm(mean) - 20) >> 2; }
inline u32 size(int value) { return std::min(static_cast<u32>(std::abs(value)), 255u); }
inline u32 two(int value) { return std::min(size(value), 2u); }

// What has been seen of one kind of bin: statistics by context, and how far to believe each.
template <int n>
struct Mixer {
  Slot slots[n][numbers];
  i32 weights[8];
  u32 seen = 0;
  Mixer() {
    for (int i = 0; i < 8; ++i) weights[i] = i < n ? 19661 : 0;
  }

  template <typename Coder>
  bool code(Coder& coder, const u32* at, bool wanted) {
    i32 inputs[8] = {}, sum = 0;
    for (int i = 0; i < n; ++i) inputs[i] = stretch.of[slots[i][at[i]].probability() >> 4];
    inputs[n] = 128;
    for (int i = 0; i < 8; ++i) sum += inputs[i] * (weights[i] >> 2);
    const i32 probability = squash(std::clamp(sum >> 14, -most_logit, most_logit));
    const bool bin = coder.code(std::clamp(static_cast<u32>(probability), least, one - 1 - least), wanted);
    const int shift = 13 + std::clamp((static_cast<int>(std::bit_width(seen)) - 3) >> 1, 0, 5);
    const i32 error = (bin ? static_cast<i32>(one) : 0) - probability, half_unit = 1 << (shift - 1);
    for (int i = 0; i < 8; ++i) {
      const i32 weight = weights[i] + ((error * inputs[i] + half_unit) >> shift);
      weights[i] = std::clamp(weight, -(1 << 18) + 1, (1 << 18) - 1);
    }
    seen = std::min(seen + 1, 4096u);
    for (int i = 0; i < n; ++i) slots[i][at[i]].learn(bin);
    return bin;
  }
};

// Guesses a value from those before, by weights that follow the errors.
struct Linear {
  i32 weights[places][10] = {};
  i32 power = 256;

  i32 guess(std::size_t place, const i32* given) const {
    i32 sum = 0;
    for (int i = 0; i < 10; ++i) sum += given[i] * (weights[place][i] >> 4);
    return std::clamp(sum >> 4, -static_cast<i32>(most), static_cast<i32>(most));
  }

  void learn(std::size_t place, const i32* given, i32 value, i32 guessed) {
    i32 norm = 0;
    for (int i = 0; i < 10; ++i) norm += given[i] * given[i];
    power += ((std::min(norm, 4000) << 8) - power) >> 7;
    if (norm == 0) return;
    const int shift = static_cast<int>(std::bit_width(static_cast<u32>(norm + (power >> 6) + 1))) - 1;
    const i32 error = std::clamp(value * 256 - guessed, -32768, 32767) * 16;
    for (int i = 0; i < 10; ++i) {
      const i32 weight = weights[place][i] + (error * given[i] >> shift);
      weights[place][i] = std::clamp(weight, -(1 << 17), 1 << 17);
    }
  }
};

// Guesses a magnitude likewise, from magnitudes and means of them.
struct Sizes {
  i32 weights[places][14];
  i64 power = 1 << 12;

  Sizes() {
    for (auto& of_place : weights) {
      std::fill_n(of_place, 14, 0);
      std::fill_n(of_place + 11, 3, 22000);
    }
  }

  u32 guess(std::size_t place, const i32* given) const {
    i64 sum = 0;
    for (int i = 0; i < 14; ++i) sum += i64{given[i]} * weights[place][i];
    return static_cast<u32>(std::clamp(sum >> 16, i64{4}, i64{most}));
  }

  void learn(std::size_t place, const i32* given, u32 magnitude, u32 guessed) {
    i64 norm = 0;
    for (int i = 0; i < 14; ++i) norm += i64{given[i]} * given[i] >> 8;
    power += (std::min(norm, i64{1} << 28) - power) >> 8;
    const int shift = static_cast<int>(std::bit_width(static_cast<u64>(norm + power + 256))) + 3;
    const i64 error = (static_cast<i64>(magnitude) - guessed) * 256;
    for (int i = 0; i < 14; ++i) {
      const i64 weight = weights[place][i] + (error * given[i] >> shift);
      weights[place][i] = static_cast<i32>(std::clamp(weight, -(i64{1} << 18), i64{1} << 18));
    }
  }
};

// Where a value is: its column of the row, which is that place in the kernel of that channel.
struct Spot {
  std::size_t row, column, channel, place;
};

// Means of magnitudes, in units of 2^-8.
class Past {
 public:
  explicit Past(const TensorShape& shape)
      : shape_(shape), columns_(shape.channels * shape.kernel), channels_(shape.channels),
        places_(shape.kernel) {}

  u32 row = 256, last = 256, late = 256, part = 256, all = 256;
  u32 column(const Spot& at) const { return columns_[at.column]; }
  u32 channel(const Spot& at) const { return channels_[at.channel]; }
  u32 place(const Spot& at) const { return places_[at.place]; }

  // The one mean times how much larger the other is than that of all.
  u32 times(u32 mean, u32 other) const { return std::min(mean * (other + 6) / (all + 6), most); }

  void begin_row() {
    row = all;
    row_seen_ = 3;
  }

  // A mean starts as that of all.
  void begin(const Spot& at) {
    if (at.row == 0) {
      columns_[at.column] = all;
      if (at.place == 0) channels_[at.channel] = all;
      if (at.channel == 0) places_[at.place] = all;
    }
    if (at.place == 0) part = row;
  }

  void add(const Spot& at, u32 value) {
    const auto move = [value](u32& mean, std::size_t seen, std::size_t memory) {
      mean = moved(mean, value, static_cast<u32>(std::min(seen, memory)));
    };
    const std::size_t of_channel = std::min<std::size_t>(row_memory, column_memory * shape_.kernel);
    move(row, row_seen_++, row_memory);
    move(last, last_memory, last_memory);
    move(late, late_memory, late_memory);
    move(part, at.place + 1, part_memory);
    move(columns_[at.column], at.row, column_memory);
    move(channels_[at.channel], at.row * shape_.kernel + at.place, of_channel);
    move(places_[at.place], at.row * shape_.channels + at.channel, row_memory);
    move(all, all_seen_++, row_memory);
  }

 private:
  TensorShape shape_;
  std::vector<u32> columns_, channels_, places_;
  std::size_t row_seen_ = 3, all_seen_ = 0;
};

// All that is known of a value before it is coded.
struct View {
  i32 values[10], magnitudes[14];  // what the guesses are made from
  int before, two_before, up, two_up, above, beside, aside;

  View(const std::int16_t* x, const TensorShape& shape, const Past& past, const Spot& at) {
    const std::size_t kernel = shape.kernel, width = shape.channels * kernel;
    before = at.column > 0 ? x[-1] : 0;
    two_before = at.column > 1 ? x[-2] : 0;
    up = at.row > 0 ? *(x - width) : 0;
    two_up = at.row > 1 ? *(x - 2 * width) : 0;
    above = at.place >= shape.width ? *(x - shape.width) : 0;
    beside = at.place % shape.width > 0 ? x[-1] : 0;
    aside = at.channel > 0 ? *(x - kernel) : 0;
    const std::size_t reach = kernel > 1 ? at.place : at.column;
    for (std::size_t i = 0; i < 8; ++i) {
      values[i] = i < reach ? *(x - 1 - i) : 0;
      magnitudes[i] = i < at.column ? static_cast<i32>(size(*(x - 1 - i)) << 8) : 0;
    }
    values[8] = kernel > 1 ? aside : 0;
    values[9] = up;
    const u32 by_channel = past.times(past.row, past.channel(at));
    const std::array<u32, 6> means{size(aside) << 8,
                                   size(up) << 8,
                                   past.times(past.row, past.place(at)),
                                   past.times(by_channel, past.place(at)),
                                   past.times(past.row, past.column(at)),
                                   past.late};
    for (std::size_t i = 0; i < 6; ++i) magnitudes[8 + i] = static_cast<i32>(means[i]);
  }
  u32 by_form() const { return static_cast<u32>(magnitudes[11]); }
  u32 by_column() const { return static_cast<u32>(magnitudes[12]); }
};

// The contexts of the bins of a value.
class Contexts {
 public:
  u32 zero[contexts], sign[sign_contexts], magnitude[contexts];

  Contexts(const View& view, const Past& past, const Spot& at, i32 guess, u32 expected)
      : octave_(half(view.by_form()) >> 1), expected_(expected) {
    const u32 usual = (8 * past.last + 6 * past.row + ((size(view.before) + size(view.up)) << 8)) >> 4;
    const u32 ratio = 8 * static_cast<u32>(std::abs(guess)) / (usual + 64);
    const int certain = static_cast<int>(ratio < 4 ? ratio : std::min(4 + (ratio - 4) / 3, 11u));
    guess_ = guess < 0 ? -certain : certain;
    const u32 channel = half(past.channel(at)), in_kernel = 3 * tersor::sign(view.beside) + tersor::sign(view.above);
    zero[0] = half(past.row) * 27 + half(past.column(at));
    zero[1] = channel * 27 + half(past.last);
    zero[2] = magnitude[2] = half(past.part) * 27 + channel;
    const u32 around = 27 * two(view.before) + 9 * two(view.two_before) + 3 * two(view.up) + two(view.above);
    zero[3] = magnitude[3] = around * 6 + half(past.times(past.row, past.channel(at))) / 5;
    magnitude[0] = static_cast<u32>(logarithm(view.by_form()) - 20) >> 1;
    magnitude[1] = half(view.by_column()) * 27 + half(past.late);
    guessed(zero, certain);
    sign[0] = in_kernel;
    sign[1] = 9 * tersor::sign(view.up) + 3 * tersor::sign(view.two_up) + tersor::sign(view.aside);
    sign[2] = in_kernel * 32 + static_cast<u32>(std::min<std::size_t>(at.place, 31));
    sign[3] = static_cast<u32>(12 + guess_);
    sign[4] = static_cast<u32>(12 + guess_) * 14 + octave_;
  }

  // Completes those of the magnitude.
  void with_sign(bool positive) { guessed(magnitude, positive ? guess_ : -guess_); }

 private:
  void guessed(u32* into, int guess) {
    into[4] = static_cast<u32>(12 + guess) * 14 + octave_;
    into[5] = static_cast<u32>(logarithm(expected_) - 20);
    into[6] = half(expected_) * 24 + static_cast<u32>(12 + guess);
  }
  u32 octave_, expected_;
  int guess_;
};

// Codes values; the decoder's replace what is in `values`. False if the coder has failed.
template <typename Coder>
class Model {
 public:
  explicit Model(Coder& coder) : coder_(coder), kinds_(1) {}

  bool tensor(const TensorShape& shape, std::int16_t* values) {
    if (shape.kernel != kernel_) {
      kernel_ = shape.kernel;
      kinds_[0].linear = Linear();
      kinds_[0].sizes = Sizes();
    }
    Past past(shape);
    const std::size_t width = shape.channels * shape.kernel;
    for (std::size_t start = 0; start < shape.size; start += width) {
      past.begin_row();
      row(shape, past, values + start, std::min(width, shape.size - start), start / width);
      if (coder_.failed()) return false;
    }
    return true;
  }

 private:
  struct Kinds {  // on the heap: half a megabyte
    Mixer<contexts> zero, nodes[buckets];
    Mixer<sign_contexts> sign;
    Slot places[buckets][64];
    Linear linear;
    Sizes sizes;
  };

  void row(const TensorShape& shape, Past& past, std::int16_t* x, std::size_t length, std::size_t number) {
    Linear& linear = kinds_[0].linear;
    Sizes& sizes = kinds_[0].sizes;
    Spot at{number, 0, 0, 0};
    for (; at.column < length && !coder_.failed(); ++at.column, ++x) {
      past.begin(at);
      const View view(x, shape, past, at);
      const std::size_t place = std::min<std::size_t>(at.place, places - 1);
      const i32 guess = linear.guess(place, view.values);
      const u32 expected = sizes.guess(place, view.magnitudes);
      Contexts found(view, past, at, guess, expected);
      *x = static_cast<std::int16_t>(value(*x, found));
      const u32 magnitude = size(*x) << 8;
      linear.learn(place, view.values, *x, guess);
      sizes.learn(place, view.magnitudes, magnitude, expected);
      past.add(at, magnitude);
      if (++at.place == shape.kernel) {
        at.place = 0;
        ++at.channel;
      }
    }
  }

  int value(int given, Contexts& at) {
    Kinds& kinds = kinds_[0];
    if (!kinds.zero.code(coder_, at.zero, given != 0)) return 0;
    const bool positive = kinds.sign.code(coder_, at.sign, given > 0);
    at.with_sign(positive);
    const int found = static_cast<int>(magnitude(static_cast<u32>(std::max(std::abs(given) - 1, 0)), at)) + 1;
    return positive ? found : -found;
  }

  u32 magnitude(u32 rest, const Contexts& at) {
    Kinds& kinds = kinds_[0];
    const int wanted = bucket(rest);
    int node = 1, bits;
    for (int bit = 3; bit >= 0; --bit) {
      node = 2 * node + (kinds.nodes[node].code(coder_, at.magnitude, wanted >> bit & 1) ? 1 : 0);
    }
    const int number = node - buckets;
    const u32 first = first_of(number, bits), behind = rest > first ? rest - first : 0;
    u32 inner = 1;
    for (int bit = bits - 1; bit >= 0; --bit) {
      Slot& slot = kinds.places[number][inner];
      const bool found = coder_.code(slot.probability(), behind >> bit & 1);
      slot.learn(found);
      inner = 2 * inner + (found ? 1 : 0);
    }
    return first + inner - (1u << bits);
  }

  Coder& coder_;
  std::vector<Kinds> kinds_;
  std::size_t kernel_ = 0;
};

}  // namespace

std::ptrdiff_t mixing_encode(std::int16_t* values, const TensorShape* shapes, std::size_t n_shapes,
                             std::uint8_t* out, std::size_t room) {
  return adaptive_encode<Model>(values, shapes, n_shapes, out, room);
}

bool mixing_decode(const std::uint8_t* bytes, std::size_t n, const TensorShape* shapes,
                   std::size_t n_shapes, std::int16_t* values) {
  return adaptive_decode<Model>(bytes, n, shapes, n_shapes, values);
}

}  // namespace tersor
