// The loops of products of pairs on tiles (pairs.h, the second order), the same text for the
// processor's tiles and for their twin: included once by each, in its own unnamed namespace, after
// these are defined:
//   LANCET_KERNEL, LANCET_INLINE: target attributes of functions and of inlined helpers
//   TILE_ZERO(t), TILE_LOAD(t, from, bytes), TILE_STORE(t, to, bytes): tile t of 16 rows of 64
//     bytes, `bytes` apart in memory
//   TILE_SUM(t, a, b): to tile t of float32, a group of the sum: rows of tile a, 32 bfloat16, with
//     columns of tile b, 16 words of pairs
//   turn_words(from, stride, words): 16 rows of 16 words, transposed
//   join_rows(first, second, words): 16 words whose halves are the elements of two rows
//   begin_tiles(), end_tiles()
// No std:: function may be instantiated here other than constant expressions: the linker could keep
// the copy of one instruction set for all.

constexpr std::int64_t kSide = 16;    ///< rows of a tile, words of its rows
constexpr std::int64_t kGroup = 32;   ///< elements of a sum that one tile holds
constexpr std::int64_t kWords = 256;  ///< of a tile
constexpr std::int64_t kStrip = 2 * kSide;

constexpr std::int64_t groups_of(std::int64_t n) { return (n + kGroup - 1) / kGroup; }
/// Of the equal parts, of whole groups, that a sum is cut into.
constexpr std::int64_t part_of(std::int64_t length) {
  const std::int64_t parts = (length + kTileBlock - 1) / kTileBlock;
  return groups_of((length + parts - 1) / parts) * kGroup;
}

/// One or two tiles of 16 rows and one or two of 16 columns, for all groups of a block.
struct Strip {
  const std::uint16_t* rows;  ///< whole groups
  std::int64_t distance;      ///< of two rows, in elements
  const std::uint32_t* columns;
  std::int64_t next_columns;  ///< words from the first tiles of columns to the second ones
  std::int64_t groups;
};

/// c[16 or 32][16 or 32] (+)= the strip; calls ahead.fetch() for every group.
template <bool kTwoRows, bool kTwoColumns>
LANCET_KERNEL void sum_strip(const Strip& strip, Ahead& ahead, float* c, std::int64_t ldc,
                             bool add) {
  const std::int64_t row_bytes = strip.distance * 2;
  const std::int64_t c_bytes = ldc * 4;
  if (add) {
    TILE_LOAD(0, c, c_bytes);
    if (kTwoRows) TILE_LOAD(1, c + kSide * ldc, c_bytes);
    if (kTwoColumns) TILE_LOAD(2, c + kSide, c_bytes);
    if (kTwoRows && kTwoColumns) TILE_LOAD(3, c + kSide * ldc + kSide, c_bytes);
  } else {
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
  }
  const std::uint16_t* a = strip.rows;
  const std::uint32_t* b = strip.columns;
  for (std::int64_t g = 0; g < strip.groups; ++g, a += kGroup, b += kWords) {
    ahead.fetch();
    TILE_LOAD(4, a, row_bytes);
    TILE_LOAD(6, b, 64);
    TILE_SUM(0, 4, 6);
    if (kTwoRows) {
      TILE_LOAD(5, a + kSide * strip.distance, row_bytes);
      TILE_SUM(1, 5, 6);
    }
    if (kTwoColumns) {
      TILE_LOAD(7, b + strip.next_columns, 64);
      TILE_SUM(2, 4, 7);
    }
    if (kTwoRows && kTwoColumns) TILE_SUM(3, 5, 7);
  }
  TILE_STORE(0, c, c_bytes);
  if (kTwoRows) TILE_STORE(1, c + kSide * ldc, c_bytes);
  if (kTwoColumns) TILE_STORE(2, c + kSide, c_bytes);
  if (kTwoRows && kTwoColumns) TILE_STORE(3, c + kSide * ldc + kSide, c_bytes);
}

LANCET_KERNEL void sum_strip(const Strip& strip, bool two_rows, bool two_columns, Ahead& ahead,
                             float* c, std::int64_t ldc, bool add) {
  if (two_rows) {
    two_columns ? sum_strip<true, true>(strip, ahead, c, ldc, add)
                : sum_strip<true, false>(strip, ahead, c, ldc, add);
  } else {
    two_columns ? sum_strip<false, true>(strip, ahead, c, ldc, add)
                : sum_strip<false, false>(strip, ahead, c, ldc, add);
  }
}

/// Copies `rows` rows of `count` elements to rows of whole groups, `distance` apart; what is
/// missing, up to a multiple of 16 rows, is zero.
LANCET_KERNEL void copy_rows(const std::uint16_t* from, std::int64_t stride, std::int64_t rows,
                             std::int64_t count, std::uint16_t* to, std::int64_t distance) {
  for (std::int64_t r = 0; r < rows; ++r) {
    std::memcpy(to + r * distance, from + r * stride, static_cast<std::size_t>(count) * 2);
    std::memset(to + r * distance + count, 0,
                static_cast<std::size_t>(groups_of(count) * kGroup - count) * 2);
  }
  for (std::int64_t r = rows; r % kSide != 0; ++r) {
    std::memset(to + r * distance, 0, static_cast<std::size_t>(groups_of(count) * kGroup) * 2);
  }
}

/// Of copied rows of `count` elements: not a power of two, so that they fall on all cache sets.
constexpr std::int64_t copied_distance(std::int64_t count) {
  return groups_of(count) * kGroup + kGroup;
}

/// Up to 32 rows as tiles read them: where they lie, or copied where a tile would reach past them.
LANCET_KERNEL const std::uint16_t* whole_rows(const std::uint16_t* from, std::int64_t stride,
                                              std::int64_t rows, std::int64_t count,
                                              TileScratch& buffers, std::int64_t& distance) {
  distance = stride;
  if (rows % kSide == 0 && count % kGroup == 0) return from;
  distance = copied_distance(count);
  std::uint16_t* const to = buffers.rows(distance);
  copy_rows(from, stride, rows, count, to, distance);
  return to;
}

/// W[columns, count] -> [columns / 16][groups][16 words][16 columns], zeros where it ends.
LANCET_KERNEL void turn_block(const std::uint16_t* w, std::int64_t ldw, std::int64_t columns,
                              std::int64_t count, TileScratch& buffers, std::uint32_t* out) {
  const std::int64_t groups = groups_of(count);
  for (std::int64_t j = 0; j < columns; j += kSide) {
    std::int64_t distance = 0;
    const std::uint16_t* const from =
        whole_rows(w + j * ldw, ldw, min_of(kSide, columns - j), count, buffers, distance);
    for (std::int64_t g = 0; g < groups; ++g, out += kWords)
      turn_words(from + g * kGroup, distance, out);
  }
}

constexpr std::uint16_t kNothing[kSide] = {};

/// W[count, columns], two rows a pair -> the same.
LANCET_KERNEL void join_block(const std::uint16_t* w, std::int64_t ldw, std::int64_t columns,
                              std::int64_t count, std::uint32_t* out) {
  const std::int64_t groups = groups_of(count);
  for (std::int64_t pair = 0; pair < groups * kSide; ++pair) {
    const std::uint16_t* const first = w + 2 * pair * ldw;
    const bool alone = 2 * pair + 1 == count;
    std::uint32_t* to = out + pair * kSide;
    if (2 * pair >= count) {
      for (std::int64_t j = 0; j < columns; j += kSide, to += groups * kWords)
        std::memset(to, 0, kSide * sizeof(std::uint32_t));
      continue;
    }
    std::int64_t j = 0;
    for (; j + kSide <= columns; j += kSide, to += groups * kWords)
      join_rows(first + j, alone ? kNothing : first + ldw + j, to);
    for (std::int64_t q = j; j < columns && q < j + kSide; ++q) {
      const std::uint32_t second = q < columns && !alone ? first[ldw + q] : 0;
      to[q - j] = q < columns ? first[q] | second << 16U : 0;
    }
  }
}

/// Part of C that strips write.
struct Corner {
  float* c;
  std::int64_t ldc, rows, columns;
};

LANCET_INLINE void move_corner(const float* from, std::int64_t from_stride, float* to,
                               std::int64_t to_stride, std::int64_t rows, std::int64_t columns) {
  for (std::int64_t r = 0; r < rows; ++r) {
    std::memcpy(to + r * to_stride, from + r * from_stride,
                static_cast<std::size_t>(columns) * sizeof(float));
  }
}

/// Up to 32 x 32 of C (+)= the strip; past C's ends nothing is read or written.
LANCET_KERNEL void sum_corner(const Strip& strip, const Corner& out, bool add, Ahead& ahead,
                              TileScratch& buffers) {
  const bool two_rows = out.rows > kSide, two_columns = out.columns > kSide;
  if (out.rows % kSide == 0 && out.columns % kSide == 0)
    return sum_strip(strip, two_rows, two_columns, ahead, out.c, out.ldc, add);
  if (add) move_corner(out.c, out.ldc, buffers.corner, kStrip, out.rows, out.columns);
  sum_strip(strip, two_rows, two_columns, ahead, buffers.corner, kStrip, add);
  move_corner(buffers.corner, kStrip, out.c, out.ldc, out.rows, out.columns);
}

/// C[rows, columns] (+)= a[rows, count] x packed columns.
LANCET_KERNEL void multiply_block(const std::uint16_t* a, std::int64_t lda, std::int64_t count,
                                  const Corner& out, bool add, TileScratch& buffers) {
  const std::int64_t groups = groups_of(count);
  for (std::int64_t i = 0; i < out.rows; i += kStrip) {
    const std::int64_t rows = min_of(kStrip, out.rows - i);
    Strip strip{nullptr, 0, buffers.columns, groups * kWords, groups};
    strip.rows = whole_rows(a + i * lda, lda, rows, count, buffers, strip.distance);
    const std::int64_t following =
        i + kStrip < out.rows ? min_of(kStrip, out.rows - i - kStrip) : 0;
    Ahead ahead(a + (i + kStrip) * lda, lda, following, count,
                (out.columns + kStrip - 1) / kStrip * groups);
    for (std::int64_t j = 0; j < out.columns; j += kStrip) {
      strip.columns = buffers.columns + j * groups * kSide;
      sum_corner(strip, {out.c + i * out.ldc + j, out.ldc, rows, min_of(kStrip, out.columns - j)},
                 add, ahead, buffers);
    }
  }
}

LANCET_KERNEL void linear(const PairLinear& job, const Tile& tile, TileScratch& buffers) {
  if (job.k == 0 && !job.accumulate) clear(job.c, job.ldc, tile);
  begin_tiles();
  const std::int64_t part = job.k > 0 ? part_of(job.k) : 1;
  for (std::int64_t k = 0; k < job.k; k += part) {
    const std::int64_t count = min_of(part, job.k - k);
    turn_block(job.w + tile.n0 * job.ldw + k, job.ldw, tile.n1 - tile.n0, count, buffers,
               buffers.columns);
    multiply_block(
        job.a + tile.m0 * job.lda + k, job.lda, count,
        {job.c + tile.m0 * job.ldc + tile.n0, job.ldc, tile.m1 - tile.m0, tile.n1 - tile.n0},
        job.accumulate || k > 0, buffers);
  }
  end_tiles();
}

LANCET_KERNEL void input_grad(const PairInputGrad& job, const Tile& tile, TileScratch& buffers) {
  if (job.n == 0 && !job.accumulate) clear(job.c, job.ldc, tile);
  begin_tiles();
  const std::int64_t part = job.n > 0 ? part_of(job.n) : 1;
  for (std::int64_t n = 0; n < job.n; n += part) {
    const std::int64_t count = min_of(part, job.n - n);
    join_block(job.w + n * job.ldw + tile.n0, job.ldw, tile.n1 - tile.n0, count, buffers.columns);
    multiply_block(
        job.g + tile.m0 * job.ldg + n, job.ldg, count,
        {job.c + tile.m0 * job.ldc + tile.n0, job.ldc, tile.m1 - tile.m0, tile.n1 - tile.n0},
        job.accumulate || n > 0, buffers);
  }
  end_tiles();
}

/// to[columns][rows] = from[rows][columns], up to 32 x 32.
LANCET_KERNEL void turn_corner(const float* from, std::int64_t from_stride, std::int64_t rows,
                               std::int64_t columns, float* to, std::int64_t to_stride) {
  alignas(64) float in[kWords];
  alignas(64) std::uint32_t out[kWords];
  for (std::int64_t r = 0; r < rows; r += kSide) {
    for (std::int64_t q = 0; q < columns; q += kSide) {
      const std::int64_t high = min_of(kSide, rows - r), wide = min_of(kSide, columns - q);
      const float* words = from + r * from_stride + q;
      std::int64_t stride = from_stride;
      if (high < kSide || wide < kSide) {
        move_corner(words, stride, in, kSide, high, wide);
        words = in;
        stride = kSide;
      }
      turn_words(reinterpret_cast<const std::uint16_t*>(words), 2 * stride, out);
      float* const c = to + q * to_stride + r;
      if (high == kSide) {
        for (std::int64_t i = 0; i < wide; ++i) std::memcpy(c + i * to_stride, out + i * kSide, 64);
      } else {
        move_corner(reinterpret_cast<const float*>(out), kSide, c, to_stride, wide, high);
      }
    }
  }
}

/// Few rows: W lies as tiles of rows, read once; the rows of A are its columns, and C is turned.
LANCET_KERNEL void linear_few(const PairLinear& job, const Tile& tile, TileScratch& buffers) {
  if (job.k == 0 && !job.accumulate) clear(job.c, job.ldc, tile);
  if (job.k == 0) return;
  begin_tiles();
  const std::int64_t m = tile.m1 - tile.m0;
  const std::int64_t groups = groups_of(job.k);
  std::uint32_t* const columns = buffers.turned_rows(m, groups);
  turn_block(job.a + tile.m0 * job.lda, job.lda, m, job.k, buffers, columns);
  Strip strip{nullptr, 0, nullptr, groups * kWords, groups};
  Ahead(job.w + tile.n0 * job.ldw, job.ldw, min_of(kStrip, tile.n1 - tile.n0), job.k, 1).fetch();
  for (std::int64_t n = tile.n0; n < tile.n1; n += kStrip) {
    const std::int64_t count = min_of(kStrip, tile.n1 - n);
    const std::uint16_t* const w = job.w + n * job.ldw;
    strip.rows = whole_rows(w, job.ldw, count, job.k, buffers, strip.distance);
    Ahead ahead(w + count * job.ldw, job.ldw, min_of(kStrip, tile.n1 - n - count), job.k,
                (m + kStrip - 1) / kStrip * groups);
    for (std::int64_t i = 0; i < m; i += kStrip) {
      const std::int64_t width = min_of(kStrip, m - i);
      float* const c = job.c + (tile.m0 + i) * job.ldc + n;
      if (job.accumulate) turn_corner(c, job.ldc, width, count, buffers.corner, kStrip);
      strip.columns = columns + i * groups * kSide;
      sum_strip(strip, count > kSide, width > kSide, ahead, buffers.corner, kStrip, job.accumulate);
      turn_corner(buffers.corner, kStrip, count, width, c, job.ldc);
    }
  }
  end_tiles();
}
