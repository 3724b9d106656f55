// Chunks and columns of the lanes coder in AVX-512.

#include "lanes_chunk.hpp"

namespace tersor::lanes {

void chunk_avx512(const Tables& tables, const Chunk& chunk, Stream& stream) { decode_chunk(tables, chunk, stream); }

void logarithms_avx512(const u64* sums, std::size_t n, u64 inverse, int* out) { all_logarithms(sums, n, inverse, out); }

}  // namespace tersor::lanes
