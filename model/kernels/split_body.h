// The loops of products of float32 rows on tiles (gemm.h, the order of tiles), included behind
// tiles_body.h by the processor's tiles and by their twin, which also define:
//   split(x, high, middle, low): 32 numbers x, float or Half, as the sum of terms in bfloat16; Half
//     has no low ones
//   join(first, second, words, next): 16 columns of two rows, float or Half, as words of pairs:
//     their high terms, from words + next on the middle ones, behind them those of float that are
//     low
//   add_row(from, other, to, n, add): to[j] (+)= from[j] + other[j]

constexpr std::int64_t kCell = kSide * kGroup;  ///< elements of a tile
constexpr std::int64_t kRowTerms = 3;

/// Terms whose sum is a weight.
template <typename T>
constexpr std::int64_t kTerms = 3;
template <>
constexpr std::int64_t kTerms<Half> = 2;
template <>
constexpr std::int64_t kTerms<std::uint16_t> = 1;

/// Both sides of a corner of C for one block of the sum. The side of A has for each 16 of its rows
/// tiles of the low and the middle terms, group by group, then those of the high ones; the side of
/// W has for each group the high, the middle and the low ones, as far as there are any.
struct Sides {
  const std::uint16_t* rows;
  std::int64_t next_rows;  ///< elements to the other 16 rows
  const std::uint32_t* columns;
  std::int64_t next_columns;  ///< words to the other 16 columns
  std::int64_t groups;
};

/// One step: tiles of rows and columns, those that are loaded, multiplied into tiles 0 to 3.
template <bool kTwoRows, bool kTwoColumns, bool kLoadRows, bool kLoadColumns>
LANCET_INLINE void multiply_tiles(const Sides& at, const std::uint16_t* rows,
                                  const std::uint32_t* columns) {
  if (kLoadRows) {
    TILE_LOAD(4, rows, 64);
    if (kTwoRows) TILE_LOAD(5, rows + at.next_rows, 64);
  }
  if (kLoadColumns) {
    TILE_LOAD(6, columns, 64);
    if (kTwoColumns) TILE_LOAD(7, columns + at.next_columns, 64);
  }
  TILE_SUM(0, 4, 6);
  if (kTwoRows) TILE_SUM(1, 5, 6);
  if (kTwoColumns) TILE_SUM(2, 4, 7);
  if (kTwoRows && kTwoColumns) TILE_SUM(3, 5, 7);
}

LANCET_INLINE void zero_corner() {
  TILE_ZERO(0);
  TILE_ZERO(1);
  TILE_ZERO(2);
  TILE_ZERO(3);
}

template <bool kTwoRows, bool kTwoColumns>
LANCET_INLINE void store_corner(float* c) {
  TILE_STORE(0, c, kStrip * 4);
  if (kTwoRows) TILE_STORE(1, c + kSide * kStrip, kStrip * 4);
  if (kTwoColumns) TILE_STORE(2, c + kSide, kStrip * 4);
  if (kTwoRows && kTwoColumns) TILE_STORE(3, c + kSide * kStrip + kSide, kStrip * 4);
}

/// Both sums of a block with rows of A and columns of W. Calls ahead.fetch() and c.fetch() for
/// every group.
template <bool kTwoRows, bool kTwoColumns, std::int64_t kWeights>
LANCET_KERNEL void sum_block(const Sides& at, Ahead& ahead, Ahead& c, Sums& sums) {
  const std::uint16_t* a = at.rows;
  const std::uint16_t* high = at.rows + 2 * at.groups * kCell;
  const std::uint32_t* w = at.columns;
  zero_corner();
  for (std::int64_t g = 0; g < at.groups; ++g) {
    ahead.fetch();
    c.fetch();
    multiply_tiles<kTwoRows, kTwoColumns, true, true>(at, a, w);
    multiply_tiles<kTwoRows, kTwoColumns, true, false>(at, a + kCell, nullptr);
    if (kWeights > 1) {
      multiply_tiles<kTwoRows, kTwoColumns, false, true>(at, nullptr, w + kWords);
      multiply_tiles<kTwoRows, kTwoColumns, true, false>(at, high, nullptr);
    }
    if (kWeights > 2)
      multiply_tiles<kTwoRows, kTwoColumns, false, true>(at, nullptr, w + 2 * kWords);
    a += 2 * kCell;
    high += kCell;
    w += kWeights * kWords;
  }
  store_corner<kTwoRows, kTwoColumns>(sums.rest);
  high = at.rows + 2 * at.groups * kCell;
  w = at.columns;
  zero_corner();
  for (std::int64_t g = 0; g < at.groups; ++g) {
    multiply_tiles<kTwoRows, kTwoColumns, true, true>(at, high, w);
    high += kCell;
    w += kWeights * kWords;
  }
  store_corner<kTwoRows, kTwoColumns>(sums.high);
}

/// Up to 16 rows of up to 32 numbers, zeros behind them, -> a tile of each term.
template <typename T>
LANCET_KERNEL void split_cell(const T* from, std::int64_t stride, std::int64_t rows,
                              std::int64_t count, std::uint16_t* high, std::uint16_t* middle,
                              std::uint16_t* low) {
  alignas(64) T part[kGroup] = {};
  for (std::int64_t r = 0; r < kSide; ++r) {
    const T* x = from + r * stride;
    if (r >= rows || count < kGroup) {
      std::memset(part, 0, sizeof(part));
      if (r < rows) std::memcpy(part, x, static_cast<std::size_t>(count) * sizeof(T));
      x = part;
    }
    split(x, high + r * kGroup, middle + r * kGroup, low + r * kGroup);
  }
}

/// Rows of A [rows, count] -> its side, as rows.
LANCET_KERNEL void split_rows(const float* from, std::int64_t stride, std::int64_t rows,
                              std::int64_t count, std::uint16_t* to) {
  const std::int64_t groups = groups_of(count);
  for (std::int64_t r = 0; r < rows; r += kSide, to += groups * kRowTerms * kCell) {
    for (std::int64_t g = 0; g < groups; ++g) {
      std::uint16_t* const low = to + 2 * g * kCell;
      split_cell(from + r * stride + g * kGroup, stride, min_of(kSide, rows - r),
                 min_of(kGroup, count - g * kGroup), to + (2 * groups + g) * kCell, low + kCell,
                 low);
    }
  }
}

/// The same, as columns.
LANCET_KERNEL void split_columns(const float* from, std::int64_t stride, std::int64_t rows,
                                 std::int64_t count, std::uint32_t* to) {
  const std::int64_t groups = groups_of(count);
  alignas(64) std::uint16_t cells[kRowTerms][kCell];
  for (std::int64_t r = 0; r < rows; r += kSide, to += groups * kRowTerms * kWords) {
    for (std::int64_t g = 0; g < groups; ++g) {
      split_cell(from + r * stride + g * kGroup, stride, min_of(kSide, rows - r),
                 min_of(kGroup, count - g * kGroup), cells[0], cells[1], cells[2]);
      turn_words(cells[2], kGroup, to + 2 * g * kWords);
      turn_words(cells[1], kGroup, to + (2 * g + 1) * kWords);
      turn_words(cells[0], kGroup, to + (2 * groups + g) * kWords);
    }
  }
}

/// W [columns, count] -> its side, as columns.
template <typename T>
LANCET_KERNEL void split_weights(const T* w, std::int64_t ldw, std::int64_t columns,
                                 std::int64_t count, TileScratch&, std::uint32_t* out) {
  alignas(64) std::uint16_t cells[kRowTerms][kCell];
  for (std::int64_t j = 0; j < columns; j += kSide) {
    for (std::int64_t k = 0; k < count; k += kGroup) {
      split_cell(w + j * ldw + k, ldw, min_of(kSide, columns - j), min_of(kGroup, count - k),
                 cells[0], cells[1], cells[2]);
      for (std::int64_t term = 0; term < kTerms<T>; ++term, out += kWords)
        turn_words(cells[term], kGroup, out);
    }
  }
}
LANCET_KERNEL void split_weights(const std::uint16_t* w, std::int64_t ldw, std::int64_t columns,
                                 std::int64_t count, TileScratch& buffers, std::uint32_t* out) {
  turn_block(w, ldw, columns, count, buffers, out);
}

/// W [count, columns], two rows a pair -> the same.
template <typename T>
LANCET_KERNEL void join_weights(const T* w, std::int64_t ldw, std::int64_t columns,
                                std::int64_t count, std::uint32_t* out) {
  const std::int64_t step = groups_of(count) * kTerms<T> * kWords;  // to the next 16 columns
  alignas(64) T some[2][kSide];
  for (std::int64_t pair = 0; pair < groups_of(count) * kSide; ++pair) {
    const std::int64_t rows = min_of(2, count - 2 * pair);
    const T* const first = w + 2 * pair * ldw;
    std::uint32_t* to = out + pair / kSide * kTerms<T> * kWords + pair % kSide * kSide;
    for (std::int64_t j = 0; j < columns; j += kSide, to += step) {
      const std::int64_t width = min_of(kSide, columns - j);
      if (width == kSide && rows == 2) {
        join(first + j, first + ldw + j, to, kWords);
        continue;
      }
      std::memset(some, 0, sizeof(some));
      for (std::int64_t r = 0; r < rows; ++r)
        std::memcpy(some[r], first + r * ldw + j, static_cast<std::size_t>(width) * sizeof(T));
      join(some[0], some[1], to, kWords);
    }
  }
}
LANCET_KERNEL void join_weights(const std::uint16_t* w, std::int64_t ldw, std::int64_t columns,
                                std::int64_t count, std::uint32_t* out) {
  join_block(w, ldw, columns, count, out);
}

LANCET_KERNEL void add_corner(const float* rest, const float* high, const Corner& out, bool add) {
  for (std::int64_t r = 0; r < out.rows; ++r)
    add_row(rest + r * kStrip, high + r * kStrip, out.c + r * out.ldc, out.columns, add);
}

/// Of up to 32 x 32 of C.
template <std::int64_t kWeights>
LANCET_KERNEL void sum_wide(const Sides& at, bool two_rows, bool two_columns, Ahead& ahead,
                            Ahead& c, Sums& sums) {
  if (two_rows) {
    two_columns ? sum_block<true, true, kWeights>(at, ahead, c, sums)
                : sum_block<true, false, kWeights>(at, ahead, c, sums);
  } else {
    two_columns ? sum_block<false, true, kWeights>(at, ahead, c, sums)
                : sum_block<false, false, kWeights>(at, ahead, c, sums);
  }
}

/// C[rows, columns] (+)= a[rows, count] x packed columns.
template <std::int64_t kWeights>
LANCET_KERNEL void multiply_split(const float* a, std::int64_t lda, std::int64_t count,
                                  const Corner& out, bool add, const std::uint32_t* columns,
                                  TileScratch& buffers) {
  const std::int64_t groups = groups_of(count);
  std::uint16_t* const rows = buffers.split_rows(2 * groups * kRowTerms);
  Sides at{rows, groups * kRowTerms * kCell, nullptr, groups * kWeights * kWords, groups};
  for (std::int64_t i = 0; i < out.rows; i += kStrip) {
    const std::int64_t high = min_of(kStrip, out.rows - i);
    split_rows(a + i * lda, lda, high, count, rows);
    const std::int64_t following =
        i + kStrip < out.rows ? min_of(kStrip, out.rows - i - kStrip) : 0;
    Ahead ahead(a + (i + kStrip) * lda, lda, following, count,
                (out.columns + kStrip - 1) / kStrip * groups);
    at.columns = columns;
    for (std::int64_t j = 0; j < out.columns; j += kStrip, at.columns += 2 * at.next_columns) {
      const Corner corner{out.c + i * out.ldc + j, out.ldc, high, min_of(kStrip, out.columns - j)};
      Ahead old(corner.c, corner.ldc, high, corner.columns, groups);
      sum_wide<kWeights>(at, high > kSide, corner.columns > kSide, ahead, old, buffers.sums);
      add_corner(buffers.sums.rest, buffers.sums.high, corner, add);
    }
  }
}

template <typename T>
LANCET_KERNEL void split_linear_of(const LinearJob& job, const Tile& tile, TileScratch& buffers) {
  const auto* const w = static_cast<const T*>(job.w);
  const std::int64_t part = split_block(job.k), width = tile.n1 - tile.n0;
  std::uint32_t* const columns =
      buffers.split_columns((width + kSide - 1) / kSide * groups_of(part) * kTerms<T>);
  for (std::int64_t k = 0; k < job.k; k += part) {
    const std::int64_t count = min_of(part, job.k - k);
    split_weights(w + tile.n0 * job.ldw + k, job.ldw, width, count, buffers, columns);
    multiply_split<kTerms<T>>(
        job.a + tile.m0 * job.lda + k, job.lda, count,
        {job.c + tile.m0 * job.ldc + tile.n0, job.ldc, tile.m1 - tile.m0, width},
        job.accumulate || k > 0, columns, buffers);
  }
}

template <typename T>
LANCET_KERNEL void split_grad_of(const InputGradJob& job, const Tile& tile, TileScratch& buffers) {
  const auto* const w = static_cast<const T*>(job.w);
  const std::int64_t part = split_block(job.n), width = tile.n1 - tile.n0;
  std::uint32_t* const columns =
      buffers.split_columns((width + kSide - 1) / kSide * groups_of(part) * kTerms<T>);
  for (std::int64_t n = 0; n < job.n; n += part) {
    const std::int64_t count = min_of(part, job.n - n);
    join_weights(w + n * job.ldw + tile.n0, job.ldw, width, count, columns);
    multiply_split<kTerms<T>>(
        job.g + tile.m0 * job.ldg + n, job.ldg, count,
        {job.c + tile.m0 * job.ldc + tile.n0, job.ldc, tile.m1 - tile.m0, width},
        job.accumulate || n > 0, columns, buffers);
  }
}

#include "model/kernels/split_few_body.h"

LANCET_KERNEL void split_linear(const LinearJob& job, const Tile& tile, TileScratch& buffers) {
  if (job.k == 0 && !job.accumulate) clear(job.c, job.ldc, tile);
  begin_tiles();
  if (job.type == WeightType::kF32) split_linear_of<float>(job, tile, buffers);
  if (job.type == WeightType::kF16) split_linear_of<Half>(job, tile, buffers);
  if (job.type == WeightType::kBF16) split_linear_of<std::uint16_t>(job, tile, buffers);
  end_tiles();
}

LANCET_KERNEL void split_few(const LinearJob& job, const Tile& tile, TileScratch& buffers) {
  if (job.k == 0 && !job.accumulate) clear(job.c, job.ldc, tile);
  begin_tiles();
  if (job.type == WeightType::kF32) split_few_of<float>(job, tile, buffers);
  if (job.type == WeightType::kF16) split_few_of<Half>(job, tile, buffers);
  if (job.type == WeightType::kBF16) split_few_of<std::uint16_t>(job, tile, buffers);
  end_tiles();
}

LANCET_KERNEL void split_grad(const InputGradJob& job, const Tile& tile, TileScratch& buffers) {
  if (job.n == 0 && !job.accumulate) clear(job.c, job.ldc, tile);
  begin_tiles();
  if (job.type == WeightType::kF32) split_grad_of<float>(job, tile, buffers);
  if (job.type == WeightType::kF16) split_grad_of<Half>(job, tile, buffers);
  if (job.type == WeightType::kBF16) split_grad_of<std::uint16_t>(job, tile, buffers);
  end_tiles();
}
