// Products of few rows on tiles, included by split_body.h: W is read where it lies.

/// Up to 32 rows of W, group by group as tiles read them.
template <typename T>
class WeightRows {
 public:
  LANCET_INLINE WeightRows(const T* w, std::int64_t ldw, std::int64_t rows, std::int64_t count,
                           TileScratch& buffers)
      : w_(w), ldw_(ldw), rows_(rows), count_(count), cells_(buffers.split_rows(4 * kTerms<T>)) {}

  static constexpr std::int64_t kNext = kTerms<T> * kCell;  ///< from 16 rows to the others
  [[nodiscard]] LANCET_INLINE std::int64_t row_bytes() const { return kGroup * 2; }
  [[nodiscard]] LANCET_INLINE std::int64_t next() const { return kNext; }
  /// Makes the tiles of a group; those of the one before it stay.
  LANCET_INLINE void prepare(std::int64_t group) const {
    std::uint16_t* to = cells_ + group % 2 * 2 * kNext;
    const std::int64_t first = group * kGroup;
    if (first >= count_) return;
    for (std::int64_t r = 0; r < rows_; r += kSide, to += kNext)
      split_cell(w_ + r * ldw_ + first, ldw_, min_of(kSide, rows_ - r),
                 min_of(kGroup, count_ - first), to, to + kCell, to + 2 * kCell);
  }
  [[nodiscard]] LANCET_INLINE const std::uint16_t* tiles(std::int64_t group) const {
    return cells_ + group % 2 * 2 * kNext;
  }

 private:
  const T* w_;
  std::int64_t ldw_, rows_, count_;
  std::uint16_t* cells_;
};

/// Those of bfloat16: where they lie, or copied where they end.
template <>
class WeightRows<std::uint16_t> {
 public:
  LANCET_INLINE WeightRows(const std::uint16_t* w, std::int64_t ldw, std::int64_t rows,
                           std::int64_t count, TileScratch& buffers)
      : w_(whole_rows(w, ldw, rows, count, buffers, distance_)) {}

  [[nodiscard]] LANCET_INLINE std::int64_t row_bytes() const { return distance_ * 2; }
  [[nodiscard]] LANCET_INLINE std::int64_t next() const { return kSide * distance_; }
  LANCET_INLINE void prepare(std::int64_t) const {}
  [[nodiscard]] LANCET_INLINE const std::uint16_t* tiles(std::int64_t group) const {
    return w_ + group * kGroup;
  }

 private:
  std::int64_t distance_ = 0;
  const std::uint16_t* w_;
};

/// Both sums at once with up to 32 rows of W and up to 16 of A, which are the columns.
template <bool kTwoRows, typename T>
LANCET_KERNEL void sum_few(const WeightRows<T>& rows, const std::uint32_t* a, std::int64_t groups,
                           Ahead& ahead, Sums& sums) {
  const std::uint32_t* high = a + 2 * groups * kWords;
  zero_corner();
  rows.prepare(0);
  for (std::int64_t g = 0; g < groups; ++g) {
    ahead.fetch();
    rows.prepare(g + 1);
    const std::uint16_t* const w = rows.tiles(g);
    TILE_LOAD(4, w, rows.row_bytes());
    if (kTwoRows) TILE_LOAD(5, w + rows.next(), rows.row_bytes());
    TILE_LOAD(6, a, 64);
    TILE_SUM(0, 4, 6);
    if (kTwoRows) TILE_SUM(1, 5, 6);
    TILE_LOAD(7, high, 64);
    TILE_SUM(2, 4, 7);
    if (kTwoRows) TILE_SUM(3, 5, 7);
    TILE_LOAD(6, a + kWords, 64);
    TILE_SUM(0, 4, 6);
    if (kTwoRows) TILE_SUM(1, 5, 6);
    if (kTerms < T >> 1) {
      TILE_LOAD(4, w + kCell, 64);
      if (kTwoRows) TILE_LOAD(5, w + kCell + rows.next(), 64);
      TILE_SUM(0, 4, 6);
      if (kTwoRows) TILE_SUM(1, 5, 6);
      TILE_SUM(0, 4, 7);
      if (kTwoRows) TILE_SUM(1, 5, 7);
    }
    if (kTerms < T >> 2) {
      TILE_LOAD(4, w + 2 * kCell, 64);
      if (kTwoRows) TILE_LOAD(5, w + 2 * kCell + rows.next(), 64);
      TILE_SUM(0, 4, 7);
      if (kTwoRows) TILE_SUM(1, 5, 7);
    }
    a += 2 * kWords;
    high += kWords;
  }
  TILE_STORE(0, sums.rest, kStrip * 4);
  TILE_STORE(2, sums.high, kStrip * 4);
  if (kTwoRows) TILE_STORE(1, sums.rest + kSide * kStrip, kStrip * 4);
  if (kTwoRows) TILE_STORE(3, sums.high + kSide * kStrip, kStrip * 4);
}

/// Few rows: W is read where it lies, its rows are those of tiles; those of A are columns, and C is
/// turned.
template <typename T>
LANCET_KERNEL void split_few_of(const LinearJob& job, const Tile& tile, TileScratch& buffers) {
  const auto* const all = static_cast<const T*>(job.w);
  const std::int64_t m = tile.m1 - tile.m0, part = split_block(job.k);
  const std::int64_t cells = (m + kSide - 1) / kSide * kRowTerms;
  std::uint32_t* const columns = buffers.split_columns(cells * groups_of(job.k));
  for (std::int64_t k = 0; k < job.k; k += part) {
    split_columns(job.a + tile.m0 * job.lda + k, job.lda, m, min_of(part, job.k - k),
                  columns + k / kGroup * cells * kWords);
  }
  Sums &sums = buffers.sums, &turned = buffers.turned;
  for (std::int64_t n = tile.n0; n < tile.n1; n += kStrip) {
    const std::int64_t high = min_of(kStrip, tile.n1 - n);
    for (std::int64_t k = 0; k < job.k; k += part) {
      const std::int64_t count = min_of(part, job.k - k), groups = groups_of(count);
      const WeightRows<T> rows(all + n * job.ldw + k, job.ldw, high, count, buffers);
      const bool same_rows = k + part < job.k;
      const std::int64_t next = same_rows ? n : n + kStrip, from = same_rows ? k + part : 0;
      Ahead ahead(all + min_of(next, tile.n1 - 1) * job.ldw + from, job.ldw,
                  next < tile.n1 ? min_of(kStrip, tile.n1 - next) : 0, min_of(part, job.k - from),
                  (m + kSide - 1) / kSide * groups);
      const std::uint32_t* a = columns + k / kGroup * cells * kWords;
      for (std::int64_t i = 0; i < m; i += kSide, a += groups * kRowTerms * kWords) {
        const std::int64_t wide = min_of(kSide, m - i);
        high > kSide ? sum_few<true>(rows, a, groups, ahead, sums)
                     : sum_few<false>(rows, a, groups, ahead, sums);
        turn_corner(sums.rest, kStrip, high, wide, turned.rest, kStrip);
        turn_corner(sums.high, kStrip, high, wide, turned.high, kStrip);
        add_corner(turned.rest, turned.high,
                   {job.c + (tile.m0 + i) * job.ldc + n, job.ldc, wide, high},
                   job.accumulate || k > 0);
      }
    }
  }
}
