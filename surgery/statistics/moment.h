#pragma once
// Sums of outer products: products of float32 blocks, added up in float64 in a fixed order.

#include <ATen/ATen.h>

namespace lancet {

/// sum += K K^T for K float32 [d, count], one key a column; float64 [d, d], of which only tiles on
/// and above the diagonal are kept (see mirror_moment).
void add_moment(const at::Tensor& keys, at::Tensor& sum);

/// Copies what add_moment() filled below the diagonal.
void mirror_moment(at::Tensor& sum);

}  // namespace lancet
