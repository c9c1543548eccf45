#include "model/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <utility>

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
  const SsmSpec& ssm = spec.ssm;
  const auto wide = options.dtype(at::kFloat);
  for (std::int64_t layer = first_layer; layer < spec.layers; ++layer) {
    Layer each;
    if (spec.layer[static_cast<std::size_t>(layer)].ssm) {
      each.state = {at::zeros({batch, ssm.d_conv - 1, ssm.conv_width()}, wide),
                    at::zeros({batch, ssm.heads, ssm.d_head, ssm.d_state}, wide)};
    } else {
      each.keys = at::empty(shape, options);
      each.values = at::empty(shape, options);
    }
    layers_.push_back(std::move(each));
  }
}

const KvCache::Layer& KvCache::layer_at(std::int64_t layer) const {
  return layers_.at(static_cast<std::size_t>(layer - first_layer_));
}

const at::Tensor& KvCache::keys(std::int64_t layer) const { return layer_at(layer).keys; }
const at::Tensor& KvCache::values(std::int64_t layer) const { return layer_at(layer).values; }
const SsmState& KvCache::state(std::int64_t layer) const { return layer_at(layer).state; }

SsmState& KvCache::next_state(std::int64_t layer) {
  return layers_.at(static_cast<std::size_t>(layer - first_layer_)).next;
}

void KvCache::append(std::int64_t layer, const at::Tensor& k, const at::Tensor& v) {
  Layer& own = layers_.at(static_cast<std::size_t>(layer - first_layer_));
  at::Tensor &keys = own.keys, &values = own.values;
  if (k.size(0) != batch()) {
    fail(ErrorKind::kInternal, "kv cache",
         "expected " + std::to_string(batch()) + " rows, found " + std::to_string(k.size(0)));
  }
  if (keys.device() != k.device()) {  // of a layer that is not where the cache was made
    const c10::InferenceMode outlives_a_pass(false);
    keys = keys.to(k.device());
    values = values.to(k.device());
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
  for (Layer& each : layers_) {
    if (each.next.scan.defined()) each.state = std::exchange(each.next, {});
  }
}

void KvCache::expect(std::vector<std::int64_t> lengths) {
  if (lengths.size() != lengths_.size())
    fail(ErrorKind::kInternal, "kv cache", "expected a length for each row");
  expected_ = std::move(lengths);
}

void KvCache::truncate(const std::vector<std::int64_t>& lengths) {
  const bool states =
      std::ranges::any_of(layers_, [](const Layer& each) { return each.state.scan.defined(); });
  for (std::size_t row = 0; row < lengths_.size(); ++row) {
    if (lengths.at(row) >= lengths_[row]) continue;
    if (states && lengths[row] > 0) {
      fail(ErrorKind::kMismatch, "model",
           "expected attention in every layer to go back to token " + std::to_string(lengths[row]) +
               ", found state spaces, which keep no single tokens");
    }
    lengths_[row] = lengths[row];
    if (states) forget(static_cast<std::int64_t>(row));
  }
}

void KvCache::forget(std::int64_t row) {
  for (Layer& each : layers_) {
    if (!each.state.scan.defined()) continue;
    // Other caches may share the tensors.
    each.state = {each.state.conv.clone(), each.state.scan.clone()};
    each.state.conv.select(0, row).zero_();
    each.state.scan.select(0, row).zero_();
  }
}

KvCache KvCache::select(const std::vector<std::int64_t>& rows) const {
  const c10::InferenceMode outlives_a_pass(false);
  KvCache out = *this;
  out.lengths_.clear();
  out.expected_.clear();
  for (const std::int64_t row : rows) {
    out.lengths_.push_back(lengths_.at(static_cast<std::size_t>(row)));
    if (!expected_.empty()) out.expected_.push_back(expected(static_cast<std::size_t>(row)));
  }
  const auto options = at::TensorOptions(at::kLong);
  for (Layer& each : out.layers_) {
    each.next = {};
    for (at::Tensor* part : each.parts()) {
      if (part->defined())
        *part = part->index_select(0, at::tensor(rows, options).to(part->device()));
    }
  }
  return out;
}

void KvCache::replace(const std::vector<std::int64_t>& rows, const KvCache& other) {
  const c10::InferenceMode outlives_a_pass(false);
  const at::Tensor index = at::tensor(rows, at::kLong);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::int64_t& length = lengths_.at(static_cast<std::size_t>(rows[i]));
    if (other.lengths_.at(i) > length)
      fail(ErrorKind::kInternal, "kv cache", "expected rows that are no longer than before");
    length = other.lengths_[i];
    if (!expected_.empty()) expected_[static_cast<std::size_t>(rows[i])] = other.expected(i);
  }
  const std::int64_t longest = *std::ranges::max_element(other.lengths_);
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    Layer& own = layers_[layer];
    const Layer& source = other.layers_.at(layer);
    if (own.keys.defined()) {
      own.keys.narrow(2, 0, longest)
          .index_copy_(0, index.to(own.keys.device()), source.keys.narrow(2, 0, longest));
      own.values.narrow(2, 0, longest)
          .index_copy_(0, index.to(own.values.device()), source.values.narrow(2, 0, longest));
    } else {  // other caches may share the tensors
      const at::Tensor there = index.to(own.state.scan.device());
      own.state = {own.state.conv.index_copy(0, there, source.state.conv),
                   own.state.scan.index_copy(0, there, source.state.scan)};
    }
  }
}

KvCache KvCache::front(std::int64_t rows) const {
  KvCache out = *this;
  out.lengths_.resize(static_cast<std::size_t>(rows));
  if (!out.expected_.empty()) out.expected_.resize(static_cast<std::size_t>(rows));
  for (Layer& each : out.layers_) {
    each.next = {};
    for (at::Tensor* part : each.parts()) {
      if (part->defined()) *part = part->narrow(0, 0, rows);
    }
  }
  return out;
}

}  // namespace lancet
