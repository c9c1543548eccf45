// The loops of the products, the same text for every instruction set: included once by each
// gemm_<isa>.cpp, in its own unnamed namespace, after these are defined:
//   LANCET_KERNEL, LANCET_INLINE: target attributes of functions and of inlined helpers
//   V, kLanes: a vector of kLanes floats, with zero load store load_some store_some broadcast fma
//     add widen; fma_one on floats
//   kRows, kFewRowsGroup: rows of the largest micro-tile, of the largest streaming group
//   kPairs: whether an element of a sum is a pair of bfloat16 in the bits of a float (pairs.h),
//   made
//     by join(p, q), join_one(p, q) from two rows of W in an input gradient
//   transpose(w, ldw, V[kStep<T>]): kLanes rows x kStep<T> elements of W, transposed and widened
//   dot_lanes<rows>(a, lda, w[8], count, ahead, lanes): chains of rows x 8 products over the first
//     count / 8 * 8 elements, lanes[row][8][kChains]; calls ahead.fetch() kPasses times for every
//     kFetchPiece elements
//   sum_lanes(lanes[8][kChains], out[8]): ((chain 0 + chain 1) + ...) + chain 7 of 8 products
// No std:: function may be instantiated here other than constant expressions: the linker could keep
// the copy of one instruction set for all.

constexpr std::int64_t kPanel = 2 * kLanes;  ///< columns of a micro-tile
static_assert(kPanelAlign % kPanel == 0 && kRows <= kMaxRows);

/// One block of a sum: `count` elements in `chains` interleaved chains, each `length` steps long or
/// one less.
struct Block {
  std::int64_t count, chains, length;
  bool add;  ///< add to C (always but for the first block of a product that does not accumulate)
  std::int64_t step = kPanel;                     ///< from one element of a panel to the next
  std::int64_t panel = chains * length * kPanel;  ///< from one panel to the next
};

struct Output {
  float* c;
  std::int64_t ldc, columns;
};

/// C[kMr, columns] (+)= block of rows[kMr, count] x panel[chains][length][kPanel].
template <int kMr>
LANCET_KERNEL void micro_tile(const Block& block, const float* rows, const float* panel,
                              float* total, const Output& out, Ahead& ahead) {
  const bool whole = out.columns == kPanel;
  for (std::int64_t chain = 0; chain < block.chains; ++chain) {
    ahead.fetch();
    V sum[extent(kMr)][2];
#pragma GCC unroll 16
    for (int i = 0; i < kMr; ++i) sum[i][0] = sum[i][1] = zero();
    const float* x = rows + chain;
    const float* y = panel + chain * block.length * kPanel;
    const float* const end = rows + block.count;
    for (; x < end; x += block.chains, y += block.step) {
      const V y0 = load(y);
      const V y1 = load(y + kLanes);
      __builtin_prefetch(y + 4 * block.step);
      if (kPanel > 16) __builtin_prefetch(y + 4 * block.step + 16);
#pragma GCC unroll 16
      for (int i = 0; i < kMr; ++i) {
        const V xi = broadcast(x + i * kRowStride);
        sum[i][0] = fma(xi, y0, sum[i][0]);
        sum[i][1] = fma(xi, y1, sum[i][1]);
      }
    }
    if (chain > 0) {
#pragma GCC unroll 16
      for (int i = 0; i < kMr; ++i) {
        sum[i][0] = add(load(total + i * kPanel), sum[i][0]);
        sum[i][1] = add(load(total + i * kPanel + kLanes), sum[i][1]);
      }
    }
    if (whole && chain + 1 == block.chains) {
#pragma GCC unroll 16
      for (int i = 0; i < kMr; ++i) {
        float* const c = out.c + i * out.ldc;
        store(c, block.add ? add(load(c), sum[i][0]) : sum[i][0]);
        store(c + kLanes, block.add ? add(load(c + kLanes), sum[i][1]) : sum[i][1]);
      }
      return;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kMr; ++i) {
      store(total + i * kPanel, sum[i][0]);
      store(total + i * kPanel + kLanes, sum[i][1]);
    }
  }
  for (int i = 0; i < kMr; ++i) {
    for (std::int64_t j = 0; j < out.columns; j += kLanes) {
      float* const c = out.c + i * out.ldc + j;
      const V t = load(total + i * kPanel + j);
      if (j + kLanes <= out.columns) {
        store(c, block.add ? add(load(c), t) : t);
      } else {
        const std::int64_t n = out.columns - j;
        store_some(c, n, block.add ? add(load_some(c, n), t) : t);
      }
    }
  }
}

using MicroTile = void (*)(const Block&, const float*, const float*, float*, const Output&, Ahead&);

template <int... kMr>
constexpr std::array<MicroTile, sizeof...(kMr)> micro_tiles(std::integer_sequence<int, kMr...>) {
  return {&micro_tile<kMr + 1>...};
}
constexpr auto kMicroTiles = micro_tiles(std::make_integer_sequence<int, kRows>{});

/// All rows of a tile against the panels: C[rows, columns] (+)= a[rows, count] x panels.
LANCET_KERNEL void multiply(const Block& block, const float* a, std::int64_t lda, std::int64_t rows,
                            const float* panels, Scratch& buffers, const Output& out) {
  const std::int64_t groups = (rows + kRows - 1) / kRows;
  for (std::int64_t group = 0, i = 0; group < groups; ++group) {
    const std::int64_t taken = rows / groups + (group < rows % groups ? 1 : 0);
    for (std::int64_t r = 0; r < taken; ++r) {
      std::memcpy(buffers.rows + r * kRowStride, a + (i + r) * lda,
                  static_cast<std::size_t>(block.count) * sizeof(float));
    }
    const MicroTile tile = kMicroTiles[static_cast<std::size_t>(taken - 1)];
    const std::int64_t slots = (out.columns + kPanel - 1) / kPanel * block.chains;
    const std::int64_t following = min_of(rows / groups + 1, rows - i - taken);
    Ahead ahead(a + (i + taken) * lda, lda, following, block.count, slots);
    for (std::int64_t j = 0; j < out.columns; j += kPanel) {
      tile(block, buffers.rows, panels + j / kPanel * block.panel, buffers.total,
           {out.c + i * out.ldc + j, out.ldc, min_of(kPanel, out.columns - j)}, ahead);
    }
    i += taken;
  }
}

/// Elements k >= from of `rows` <= kLanes rows of W, one by one; missing rows become zeros.
template <typename T>
LANCET_KERNEL void pack_slowly(const T* w, std::int64_t ldw, std::int64_t rows, std::int64_t from,
                               const Block& block, float* out) {
  for (std::int64_t k = from; k < block.count; ++k) {
    float* const to = out + (k % kChains * block.length + k / kChains) * kPanel;
    for (std::int64_t j = 0; j < kLanes; ++j) to[j] = j < rows ? widen_one(w[j * ldw + k]) : 0.0F;
  }
}

/// W[columns, count] -> [columns / kPanel][kChains][length][kPanel], transposed.
template <typename T>
LANCET_KERNEL void pack_linear(const T* w, std::int64_t ldw, std::int64_t columns,
                               const Block& block, float* out) {
  for (std::int64_t j = 0; j < (columns + kPanel - 1) / kPanel * kPanel; j += kLanes) {
    float* const half = out + j / kPanel * kPanel * kChains * block.length + j % kPanel;
    const T* const from = w + min_of(j, columns) * ldw;
    std::int64_t k = 0;
    for (; j + kLanes <= columns && k + kStep<T> <= block.count; k += kStep<T>) {
      V quads[extent(kStep<T>)];
      if (k % (64 / static_cast<std::int64_t>(sizeof(T))) == 0) {
        for (int i = 0; i < kLanes; ++i) __builtin_prefetch(from + k + (i + kLanes) * ldw, 0, 2);
      }
      transpose(from + k, ldw, quads);
      float* const to = half + (k % kChains * block.length + k / kChains) * kPanel;
#pragma GCC unroll 8
      for (int i = 0; i < kStep<T>; ++i) store(to + i * block.length * kPanel, quads[i]);
    }
    pack_slowly(from, ldw, columns - j, k, block, half);
  }
}

/// Rows of W that make one element of the sum of an input gradient.
constexpr std::int64_t kSumRows = kPairs ? 2 : 1;

/// Columns of the next element of that sum.
template <typename T>
LANCET_INLINE V sum_element(const T* w, std::int64_t ldw) {
  if constexpr (kPairs) {
    return join(w, w + ldw);
  } else {
    return widen(w);
  }
}
template <typename T>
LANCET_INLINE float sum_element_one(const T* w, std::int64_t ldw) {
  if constexpr (kPairs) {
    return join_one(w, w + ldw);
  } else {
    return widen_one(*w);
  }
}

/// W[count * kSumRows, columns] -> [columns / kPanel][count][kPanel].
template <typename T>
LANCET_KERNEL void pack_grad(const T* w, std::int64_t ldw, std::int64_t columns, const Block& block,
                             float* out) {
  for (std::int64_t i = 0; i < block.count; ++i) {
    const T* const from = w + i * kSumRows * ldw;
    float* const to = out + i * kPanel;
    std::int64_t j = 0;
    for (; j + kPanel <= columns; j += kPanel) {
      __builtin_prefetch(from + 4 * ldw + j);
      if (kPanel * sizeof(T) > 64) __builtin_prefetch(from + 4 * ldw + j + 16);
      if constexpr (kPairs) __builtin_prefetch(from + 5 * ldw + j);
      store(to + j * block.length, sum_element(from + j, ldw));
      store(to + j * block.length + kLanes, sum_element(from + j + kLanes, ldw));
    }
    for (std::int64_t q = j; j < columns && q < j + kPanel; ++q) {
      to[j * block.length + q - j] = q < columns ? sum_element_one(from + q, ldw) : 0.0F;
    }
  }
}

template <typename T>
LANCET_KERNEL void linear_of(const LinearJob& job, const Tile& tile) {
  Scratch& buffers = scratch();
  const std::int64_t longest = block_length(job.k, kLinearBlock);
  for (std::int64_t k = 0; k < job.k; k += longest) {
    const std::int64_t count = min_of(longest, job.k - k);
    const Block block{count, kChains, (count + kChains - 1) / kChains, job.accumulate || k > 0};
    pack_linear(static_cast<const T*>(job.w) + tile.n0 * job.ldw + k, job.ldw, tile.n1 - tile.n0,
                block, buffers.panel);
    multiply(block, job.a + tile.m0 * job.lda + k, job.lda, tile.m1 - tile.m0, buffers.panel,
             buffers, {job.c + tile.m0 * job.ldc + tile.n0, job.ldc, tile.n1 - tile.n0});
  }
}

constexpr std::int64_t kDirectRows = 4 * kRows;

LANCET_INLINE const float* unpacked(const float* w) { return w; }
template <typename T>
LANCET_INLINE const float* unpacked(const T*) {
  return nullptr;
}

template <typename T>
LANCET_KERNEL void input_grad_of(const InputGradJob& job, const Tile& tile) {
  Scratch& buffers = scratch();
  const std::int64_t longest = block_length(job.n, kGradBlock);
  // Few rows do not pay for packing: float32 weights already lie as a panel does, further apart.
  const bool is_direct = tile.m1 - tile.m0 <= kDirectRows && (tile.n1 - tile.n0) % kPanel == 0;
  for (std::int64_t n = 0; n < job.n; n += longest) {
    const std::int64_t count = min_of(longest, job.n - n);
    const T* const w = static_cast<const T*>(job.w) + n * kSumRows * job.ldw + tile.n0;
    Block block{count, 1, count, job.accumulate || n > 0};
    const float* panels = buffers.panel;
    if (const float* plain = unpacked(w); plain != nullptr && is_direct) {
      block.step = job.ldw;
      block.panel = kPanel;
      panels = plain;
    } else {
      pack_grad(w, job.ldw, tile.n1 - tile.n0, block, buffers.panel);
    }
    multiply(block, job.g + tile.m0 * job.ldg + n, job.ldg, tile.m1 - tile.m0, panels, buffers,
             {job.c + tile.m0 * job.ldc + tile.n0, job.ldc, tile.n1 - tile.n0});
  }
}

#include "model/kernels/gemm_few_body.h"

/// Pairs come as words of float32's size in a linear product, as bfloat16 in an input gradient.
using NarrowLinear = std::conditional_t<kPairs, float, std::uint16_t>;
using WideGrad = std::conditional_t<kPairs, std::uint16_t, float>;
/// There are none of halves.
using HalfLinear = std::conditional_t<kPairs, float, Half>;
using HalfGrad = std::conditional_t<kPairs, std::uint16_t, Half>;

LANCET_KERNEL void linear(const LinearJob& job, const Tile& tile) {
  if (job.k == 0 && !job.accumulate) clear(job.c, job.ldc, tile);
  if (job.type == WeightType::kF32) return linear_of<float>(job, tile);
  if (job.type == WeightType::kF16) return linear_of<HalfLinear>(job, tile);
  linear_of<NarrowLinear>(job, tile);
}

LANCET_KERNEL void linear_few(const LinearJob& job, const Tile& tile) {
  if (job.k == 0 && !job.accumulate) clear(job.c, job.ldc, tile);
  if (job.type == WeightType::kF32) return linear_few_of<float>(job, tile);
  if (job.type == WeightType::kF16) return linear_few_of<HalfLinear>(job, tile);
  linear_few_of<NarrowLinear>(job, tile);
}

LANCET_KERNEL void input_grad(const InputGradJob& job, const Tile& tile) {
  if (job.n == 0 && !job.accumulate) clear(job.c, job.ldc, tile);
  if (job.type == WeightType::kF32) return input_grad_of<WideGrad>(job, tile);
  if (job.type == WeightType::kF16) return input_grad_of<HalfGrad>(job, tile);
  input_grad_of<std::uint16_t>(job, tile);
}
