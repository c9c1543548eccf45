// Linear layers of few rows, included by gemm_body.h: W is read where it lies, once from memory.

LANCET_INLINE void put_sums(const float* sums, float* c, std::int64_t columns, bool add) {
  for (std::int64_t j = 0; j < columns; ++j) c[j] = add ? c[j] + sums[j] : sums[j];
}

/// C[kMr, columns <= 8] (+)= sums of the chains of one block, the elements after the last whole
/// step first.
template <int kMr, typename T>
LANCET_KERNEL void add_chains(const Block& block, const float* a, std::int64_t lda,
                              const T* const* w, float* lanes, const Output& out) {
  alignas(32) float sums[8];
  for (std::int64_t k = block.count / kChains * kChains; k < block.count; ++k) {
    for (int i = 0; i < kMr * 8; ++i) {
      float& lane = lanes[i * kChains + k % kChains];
      lane = fma_one(a[i / 8 * lda + k], widen_one(w[i % 8][k]), lane);
    }
  }
  for (int i = 0; i < kMr; ++i) {
    sum_lanes(lanes + i * 8 * kChains, sums);
    float* const c = out.c + i * out.ldc;
    out.columns == 8 ? put_sums(sums, c, 8, block.add) : put_sums(sums, c, out.columns, block.add);
  }
}

template <int kMr, typename T>
LANCET_KERNEL void few_rows(const Block& block, const float* a, std::int64_t lda, const T* const* w,
                            Ahead& ahead, const Output& out) {
  alignas(64) float lanes[extent(kMr * 8 * kChains)];
  dot_lanes<kMr>(a, lda, w, block.count, ahead, lanes);
  add_chains<kMr>(block, a, lda, w, lanes, out);
}

/// One row of W after the other, each from its beginning to its end: with next to no arithmetic the
/// bandwidth of the memory is all that counts, and the processor's own prefetching follows a single
/// stream best (on AMD twice as fast as eight). See streams_narrow_rows().
template <int kMr, typename T>
LANCET_KERNEL void stream_rows(const LinearJob& job, const Tile& tile) {
  constexpr std::int64_t kLanesOfBlock = kMr * 8 * kChains;
  float* const lanes = scratch().panel;
  const std::int64_t longest = block_length(job.k, kLinearBlock);
  const float* const a = job.a + tile.m0 * job.lda;
  for (std::int64_t n = tile.n0; n < tile.n1; n += 8) {
    const std::int64_t columns = min_of(8, tile.n1 - n);
    const T* w[8];  // rows past the end repeat the last one
    for (std::int64_t j = 0; j < 8; ++j) {
      w[j] = static_cast<const T*>(job.w) + (n + min_of(j, columns - 1)) * job.ldw;
      float* to = lanes + j * kChains;
      for (std::int64_t k = 0; k < job.k; k += longest, to += kLanesOfBlock) {
        dot_chains<kMr>(a + k, job.lda, w[j] + k, min_of(longest, job.k - k), to, 8 * kChains);
      }
    }
    float* from = lanes;
    for (std::int64_t k = 0; k < job.k; k += longest, from += kLanesOfBlock) {
      const Block block{min_of(longest, job.k - k), kChains, 0, job.accumulate || k > 0};
      add_chains<kMr>(block, a + k, job.lda, w, from,
                      {job.c + tile.m0 * job.ldc + n, job.ldc, columns});
      for (const T*& row : w) row += block.count;
    }
  }
}

template <typename T, int... kMr>
constexpr auto few_rows_tiles(std::integer_sequence<int, kMr...>) {
  using Few =
      void (*)(const Block&, const float*, std::int64_t, const T* const*, Ahead&, const Output&);
  return std::array<Few, sizeof...(kMr)>{&few_rows<kMr + 1, T>...};
}

constexpr std::int64_t kStreamedRows = 3;
constexpr std::int64_t kLongestStream = 1 << 19;  ///< whose lanes fit the panel

/// The panel of 8 rows of W behind block [k, k + count) of the rows from n on, to be fetched while
/// that one is multiplied with `groups` groups of rows of A: spread evenly, because the first group
/// alone computes for a shorter time than memory takes.
template <typename T>
LANCET_INLINE Ahead next_panel(const LinearJob& job, const Tile& tile, std::int64_t n,
                               std::int64_t k, std::int64_t count, std::int64_t groups) {
  const std::int64_t calls = groups * kPasses * ((count + kFetchPiece - 1) / kFetchPiece);
  const bool same_rows = k + count < job.k;
  if (!same_rows) n += 8;
  const std::int64_t from = same_rows ? k + count : 0;
  const std::int64_t rows = n < tile.n1 ? min_of(8, tile.n1 - n) : 0;
  return Ahead(static_cast<const T*>(job.w) + min_of(n, tile.n1 - 1) * job.ldw + from, job.ldw,
               rows, min_of(block_length(job.k, kLinearBlock), job.k - from), calls);
}

/// Eight rows of W at a time, each read once from memory.
template <typename T>
LANCET_KERNEL void linear_few_of(const LinearJob& job, const Tile& tile) {
  constexpr auto kFew = few_rows_tiles<T>(std::make_integer_sequence<int, kFewRowsGroup>{});
  const std::int64_t rows = tile.m1 - tile.m0;
  const std::int64_t groups = (rows + kFewRowsGroup - 1) / kFewRowsGroup;
  const std::int64_t longest = block_length(job.k, kLinearBlock);
  constexpr bool kNarrow = kPairs || sizeof(T) < sizeof(float);
  const bool streams = !kNarrow || streams_narrow_rows();
  if (streams && rows <= kStreamedRows && job.k <= kLongestStream) {
    constexpr std::array kStream{&stream_rows<1, T>, &stream_rows<2, T>, &stream_rows<3, T>};
    return kStream[static_cast<std::size_t>(rows - 1)](job, tile);
  }
  for (std::int64_t n = tile.n0; n < tile.n1; n += 8) {
    for (std::int64_t k = 0; k < job.k; k += longest) {
      const T* w[8];  // rows past the end repeat the last one
      for (std::int64_t j = 0; j < 8; ++j) {
        w[j] = static_cast<const T*>(job.w) + min_of(n + j, tile.n1 - 1) * job.ldw + k;
      }
      const Block block{min_of(longest, job.k - k), kChains, 0, job.accumulate || k > 0};
      Ahead ahead = next_panel<T>(job, tile, n, k, block.count, groups);
      for (std::int64_t group = 0, i = tile.m0; group < groups; ++group) {
        const std::int64_t taken = rows / groups + (group < rows % groups ? 1 : 0);
        kFew[static_cast<std::size_t>(taken - 1)](
            block, job.a + i * job.lda + k, job.lda, w, ahead,
            {job.c + i * job.ldc + n, job.ldc, min_of(8, tile.n1 - n)});
        i += taken;
      }
    }
  }
}
