// The row-wise kernels, the same text for every instruction set: included once by each
// elementwise_<isa>.cpp, in its own unnamed namespace, after these are defined:
//   LANCET_KERNEL, LANCET_INLINE: target attributes of functions and of inlined helpers
//   V: 16 floats, with load store load_some store_some set1 add sub mul div fma (load_some fills up
//     with zeros)
//   larger(a, b), smaller(a, b): a > b ? a : b and a < b ? a : b, lane by lane
//   tree_sum(v), tree_max(v): over the lanes at distance 8, 4, 2, 1
//   scale_power(p, t): p * 2^n, rounded once, for t = 1.5 * 2^23 + n and -150 <= n <= 129
//   fill_up(v, n, x): x in the lanes from n on

constexpr std::int64_t kWidth = 16;
constexpr std::int64_t kSumBlock = 1024;  ///< elements whose sum is kept in float
constexpr std::int64_t kTokenBlock = 64;  ///< tokens whose keys or values stay in the L1 cache

constexpr std::int64_t min_of(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

LANCET_INLINE V load_up_to(const float* p, std::int64_t n) {
  return n >= kWidth ? load(p) : load_some(p, n);
}
LANCET_INLINE void store_up_to(float* p, std::int64_t n, V v) {
  n >= kWidth ? store(p, v) : store_some(p, n, v);
}

/// exp: x = n ln 2 + r with ln 2 in two parts, Taylor series of degree 7 on |r| <= ln 2 / 2 (error
/// 2^-27).
LANCET_INLINE V exp_of(V x) {
  const V magic = set1(12582912.0F);                   // 1.5 * 2^23: adding it rounds to an integer
  x = larger(set1(-104.0F), smaller(set1(89.0F), x));  // exp is 0 and inf there; NaN stays
  const V t = fma(x, set1(1.44269504F), magic);
  const V n = sub(t, magic);
  V r = fma(n, set1(-0.693359375F), x);  // exact: 355 / 512
  r = fma(n, set1(2.12194440e-4F), r);
  V p = fma(set1(1.0F / 5040), r, set1(1.0F / 720));
  p = fma(p, r, set1(1.0F / 120));
  p = fma(p, r, set1(1.0F / 24));
  p = fma(p, r, set1(1.0F / 6));
  p = fma(p, r, set1(0.5F));
  p = add(fma(p, mul(r, r), r), set1(1.0F));
  return scale_power(p, t);
}

LANCET_KERNEL void exp_row_of(const float* x, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += kWidth) {
    store_up_to(y + i, n - i, exp_of(load_up_to(x + i, n - i)));
  }
}

LANCET_KERNEL double sum_of_squares(const float* x, std::int64_t n) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kSumBlock) {
    const std::int64_t end = min_of(n, begin + kSumBlock);
    V sum = set1(0.0F);
    for (std::int64_t i = begin; i < end; i += kWidth) {
      const V v = load_up_to(x + i, end - i);
      sum = fma(v, v, sum);
    }
    total += static_cast<double>(tree_sum(sum));
  }
  return total;
}

LANCET_KERNEL double sum_of_products(const float* x, const float* y, std::int64_t n) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kSumBlock) {
    const std::int64_t end = min_of(n, begin + kSumBlock);
    V sum = set1(0.0F);
    for (std::int64_t i = begin; i < end; i += kWidth) {
      sum = fma(load_up_to(x + i, end - i), load_up_to(y + i, end - i), sum);
    }
    total += static_cast<double>(tree_sum(sum));
  }
  return total;
}

LANCET_KERNEL void rms_norm_of(const RmsNorm& job) {
  const V offset = set1(job.weight_offset);
  for (std::int64_t row = 0; row < job.rows; ++row) {
    const float* const x = job.x + row * job.ldx;
    float* const y = job.y + row * job.ldy;
    const double mean = sum_of_squares(x, job.d) / static_cast<double>(job.d);
    const V scale = set1(static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(job.eps))));
    for (std::int64_t i = 0; i < job.d; i += kWidth) {
      const V weight = add(load_up_to(job.weight + i, job.d - i), offset);
      store_up_to(y + i, job.d - i, mul(mul(load_up_to(x + i, job.d - i), scale), weight));
    }
  }
}

LANCET_KERNEL void rms_norm_backward_of(const RmsNormBackward& job) {
  const std::int64_t d = job.d;
  const auto size = static_cast<double>(d);
  for (std::int64_t row = 0; row < job.rows; ++row) {
    const float* const x = job.x + row * d;
    const float* const dy = job.dy + row * d;
    float* const dx = job.dx + row * d;
    const double rstd = 1.0 / std::sqrt(sum_of_squares(x, d) / size + static_cast<double>(job.eps));
    for (std::int64_t i = 0; i < d; i += kWidth) {
      const V weight = load_up_to(job.weight + i, d - i);
      store_up_to(dx + i, d - i, mul(load_up_to(dy + i, d - i), weight));
    }
    const V slope = set1(static_cast<float>(rstd * rstd * sum_of_products(dx, x, d) / size));
    const V scale = set1(static_cast<float>(rstd));
    for (std::int64_t i = 0; i < d; i += kWidth) {
      const V across = mul(slope, load_up_to(x + i, d - i));
      V back = mul(scale, sub(load_up_to(dx + i, d - i), across));
      if (job.plus != nullptr) back = add(back, load_up_to(job.plus + row * d + i, d - i));
      store_up_to(dx + i, d - i, back);
    }
  }
}

LANCET_KERNEL void silu_mul_of(const float* gate, const float* up, float* y, std::int64_t n) {
  const V one = set1(1.0F);
  for (std::int64_t i = 0; i < n; i += kWidth) {
    const V g = load_up_to(gate + i, n - i);
    const V silu = div(g, add(one, exp_of(sub(set1(0.0F), g))));
    store_up_to(y + i, n - i, mul(silu, load_up_to(up + i, n - i)));
  }
}

LANCET_KERNEL void silu_mul_backward_of(const SiluMulBackward& job) {
  const V one = set1(1.0F);
  for (std::int64_t i = 0; i < job.n; i += kWidth) {
    const std::int64_t n = job.n - i;
    const V g = load_up_to(job.gate + i, n);
    const V dy = load_up_to(job.dy + i, n);
    const V s = div(one, add(one, exp_of(sub(set1(0.0F), g))));
    const V d_gate = mul(mul(dy, load_up_to(job.up + i, n)), mul(s, fma(g, sub(one, s), one)));
    store_up_to(job.d_up + i, n, mul(dy, mul(g, s)));
    store_up_to(job.d_gate + i, n, d_gate);
  }
}

LANCET_KERNEL void rope_half_of(float* x, std::int64_t stride, std::int64_t heads, const float* cos,
                                const float* sin, std::int64_t rotary) {
  const std::int64_t half = rotary / 2;
  for (std::int64_t head = 0; head < heads; ++head, x += stride) {
    for (std::int64_t i = 0; i < half; i += kWidth) {
      const V c = load_up_to(cos + i, half - i);
      const V s = load_up_to(sin + i, half - i);
      const V low = load_up_to(x + i, half - i);
      const V high = load_up_to(x + half + i, half - i);
      store_up_to(x + i, half - i, sub(mul(low, c), mul(high, s)));
      store_up_to(x + half + i, half - i, add(mul(high, c), mul(low, s)));
    }
  }
}

LANCET_KERNEL float row_max(const float* x, std::int64_t n) {
  V most = set1(-std::numeric_limits<float>::infinity());
  for (std::int64_t i = 0; i < n; i += kWidth) {
    const V v = load_up_to(x + i, n - i);
    most = larger(fill_up(v, n - i, -std::numeric_limits<float>::infinity()), most);
  }
  return tree_max(most);
}

/// Sum of exp(x - most) in double; the terms are also stored where `y` is not null.
LANCET_KERNEL double exp_sum(const float* x, float* y, std::int64_t n, float most) {
  const V shift = set1(most);
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kSumBlock) {
    const std::int64_t end = min_of(n, begin + kSumBlock);
    V sum = set1(0.0F);
    for (std::int64_t i = begin; i < end; i += kWidth) {
      const V e = exp_of(sub(load_up_to(x + i, end - i), shift));
      if (y != nullptr) store_up_to(y + i, end - i, e);
      sum = add(sum, fill_up(e, end - i, 0.0F));
    }
    total += static_cast<double>(tree_sum(sum));
  }
  return total;
}

LANCET_KERNEL void softmax_row_of(const float* x, float* y, std::int64_t n) {
  const double sum = exp_sum(x, y, n, row_max(x, n));
  const V scale = set1(static_cast<float>(1.0 / sum));
  for (std::int64_t i = 0; i < n; i += kWidth) {
    store_up_to(y + i, n - i, mul(load_up_to(y + i, n - i), scale));
  }
}

LANCET_KERNEL void softmax_backward_of(const float* p, float* dp, std::int64_t n) {
  const V mean = set1(static_cast<float>(sum_of_products(p, dp, n)));
  for (std::int64_t i = 0; i < n; i += kWidth) {
    const V back = sub(load_up_to(dp + i, n - i), mean);
    store_up_to(dp + i, n - i, mul(load_up_to(p + i, n - i), back));
  }
}

LANCET_KERNEL double log_sum_exp_of(const float* x, std::int64_t n) {
  const float most = row_max(x, n);
  return static_cast<double>(most) + std::log(exp_sum(x, nullptr, n, most));
}

LANCET_KERNEL float dot(const float* x, const float* y, std::int64_t n) {
  V sum = set1(0.0F);
  for (std::int64_t i = 0; i < n; i += kWidth) {
    sum = fma(load_up_to(x + i, n - i), load_up_to(y + i, n - i), sum);
  }
  return tree_sum(sum);
}

/// out[d] (+)= weights[tokens] v[tokens, d], 64 columns at a time in registers.
LANCET_KERNEL void weighted_sum(const float* weights, const float* v, std::int64_t stride,
                                std::int64_t tokens, std::int64_t d, bool accumulate, float* out) {
  for (std::int64_t i = 0; i < d; i += 4 * kWidth) {
    V sum[4];
    for (std::int64_t j = 0; j < 4; ++j) {
      const std::int64_t left = d - i - j * kWidth;
      sum[j] = accumulate && left > 0 ? load_up_to(out + i + j * kWidth, left) : set1(0.0F);
    }
    for (std::int64_t token = 0; token < tokens; ++token) {
      const V weight = set1(weights[token]);
      const float* const row = v + token * stride + i;
      if (d - i >= 4 * kWidth) {
#pragma GCC unroll 4
        for (std::int64_t j = 0; j < 4; ++j) sum[j] = fma(weight, load(row + j * kWidth), sum[j]);
      } else {
        for (std::int64_t j = 0; j * kWidth < d - i; ++j) {
          sum[j] = fma(weight, load_up_to(row + j * kWidth, d - i - j * kWidth), sum[j]);
        }
      }
    }
    for (std::int64_t j = 0; j < 4 && j * kWidth < d - i; ++j) {
      store_up_to(out + i + j * kWidth, d - i - j * kWidth, sum[j]);
    }
  }
}

LANCET_KERNEL void decode_attention_of(const DecodeAttention& job) {
  for (std::int64_t begin = 0; begin < job.tokens; begin += kTokenBlock) {
    const std::int64_t end = min_of(job.tokens, begin + kTokenBlock);
    for (std::int64_t query = 0; query < job.queries; ++query) {
      const float* const q = job.q + query * job.q_stride;
      float* const scores = job.scores + query * job.tokens;
      for (std::int64_t token = begin; token < end; ++token) {
        scores[token] = dot(q, job.k + token * job.k_stride, job.d_head) * job.scale;
      }
    }
  }
  for (std::int64_t query = 0; query < job.queries; ++query) {
    float* const scores = job.scores + query * job.tokens;
    softmax_row_of(scores, scores, job.tokens);
  }
  for (std::int64_t begin = 0; begin < job.tokens; begin += kTokenBlock) {
    const std::int64_t tokens = min_of(job.tokens - begin, kTokenBlock);
    for (std::int64_t query = 0; query < job.queries; ++query) {
      weighted_sum(job.scores + query * job.tokens + begin, job.v + begin * job.v_stride,
                   job.v_stride, tokens, job.d_head, begin > 0, job.out + query * job.out_stride);
    }
  }
}
