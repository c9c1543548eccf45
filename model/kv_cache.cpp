#include "model/kv_cache.h"

#include <algorithm>
#include <cstring>

#include <c10/core/InferenceMode.h>

#include "core/error.h"

namespace lancet {
namespace {

/// Copies [kv_heads, tokens, d] of one row behind its first `length` tokens; any strides.
void copy_row(const at::Tensor& from, const at::Tensor& to, std::int64_t row, std::int64_t length) {
  to.select(0, row).narrow(1, length, from.size(2)).copy_(from.select(0, row));
}

/// The same by memcpy: float32 on the CPU, values of a head contiguous.
void copy_row_native(const at::Tensor& from, const at::Tensor& to, std::int64_t row,
                     std::int64_t length) {
  const auto* source = from.const_data_ptr<float>() + row * from.stride(0);
  auto* target = to.mutable_data_ptr<float>() + row * to.stride(0);
  const std::int64_t d = from.size(3);
  for (std::int64_t head = 0; head < from.size(1); ++head) {
    for (std::int64_t t = 0; t < from.size(2); ++t) {
      std::memcpy(target + head * to.stride(1) + (length + t) * d,
                  source + head * from.stride(1) + t * from.stride(2),
                  static_cast<std::size_t>(d) * sizeof(float));
    }
  }
}

}  // namespace

KvCache::KvCache(const DecoderSpec& spec, std::int64_t batch, std::int64_t capacity,
                 const at::TensorOptions& options, std::int64_t first_layer)
    : first_layer_(first_layer), capacity_(capacity), lengths_(static_cast<std::size_t>(batch), 0) {
  const c10::InferenceMode outlives_a_pass(false);
  const auto shape = {batch, spec.attention.kv_heads, capacity, spec.attention.d_head};
  for (std::int64_t layer = first_layer; layer < spec.layers; ++layer) {
    layers_.emplace_back(at::empty(shape, options), at::empty(shape, options));
  }
}

const at::Tensor& KvCache::keys(std::int64_t layer) const {
  return layers_.at(static_cast<std::size_t>(layer - first_layer_)).first;
}

const at::Tensor& KvCache::values(std::int64_t layer) const {
  return layers_.at(static_cast<std::size_t>(layer - first_layer_)).second;
}

void KvCache::append(std::int64_t layer, const at::Tensor& k, const at::Tensor& v) {
  auto& [keys, values] = layers_.at(static_cast<std::size_t>(layer - first_layer_));
  if (k.size(0) != batch()) {
    fail(ErrorKind::kInternal, "kv cache",
         "expected " + std::to_string(batch()) + " rows, found " + std::to_string(k.size(0)));
  }
  const std::int64_t needed = *std::max_element(lengths_.begin(), lengths_.end()) + k.size(2);
  if (needed > capacity_) capacity_ = std::max(needed, capacity_ + capacity_ / 2);
  if (keys.size(2) < capacity_) {
    const c10::InferenceMode outlives_a_pass(false);
    for (at::Tensor* tensor : {&keys, &values}) {
      at::Tensor grown =
          at::empty({batch(), tensor->size(1), capacity_, tensor->size(3)}, tensor->options());
      grown.narrow(2, 0, tensor->size(2)).copy_(*tensor);
      *tensor = grown;
    }
  }
  const bool native =
      k.is_cpu() && k.scalar_type() == at::kFloat && k.stride(3) == 1 && v.stride(3) == 1;
  for (std::int64_t row = 0; row < batch(); ++row) {
    const std::int64_t length = lengths_[static_cast<std::size_t>(row)];
    (native ? copy_row_native : copy_row)(k, keys, row, length);
    (native ? copy_row_native : copy_row)(v, values, row, length);
  }
}

void KvCache::advance(const std::vector<std::int64_t>& counts) {
  for (std::size_t row = 0; row < lengths_.size(); ++row) lengths_[row] += counts.at(row);
}

void KvCache::truncate(const std::vector<std::int64_t>& lengths) {
  for (std::size_t row = 0; row < lengths_.size(); ++row) {
    lengths_[row] = std::min(lengths_[row], lengths.at(row));
  }
}

KvCache KvCache::select(const std::vector<std::int64_t>& rows) const {
  const c10::InferenceMode outlives_a_pass(false);
  KvCache out = *this;
  out.lengths_.clear();
  for (const std::int64_t row : rows)
    out.lengths_.push_back(lengths_.at(static_cast<std::size_t>(row)));
  const auto options = at::TensorOptions(at::kLong);
  for (auto& [keys, values] : out.layers_) {
    const at::Tensor index = at::tensor(rows, options).to(keys.device());
    keys = keys.index_select(0, index);
    values = values.index_select(0, index);
  }
  return out;
}

KvCache KvCache::front(std::int64_t rows) const {
  KvCache out = *this;
  out.lengths_.resize(static_cast<std::size_t>(rows));
  for (auto& [keys, values] : out.layers_) {
    keys = keys.narrow(0, 0, rows);
    values = values.narrow(0, 0, rows);
  }
  return out;
}

}  // namespace lancet
