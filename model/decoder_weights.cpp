// A Decoder's weights by name, and the matrix that editors rewrite.

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "model/decoder.h"
#include "model/lora.h"
#include "model/names.h"

namespace lancet {

MatrixRef Decoder::mlp_down(std::int64_t layer, std::int64_t expert) const {
  if (layer < 0 || layer >= spec_->layers) {
    fail(ErrorKind::kUsage, "model",
         "expected a layer from 0 to " + std::to_string(spec_->layers - 1) + ", found " +
             std::to_string(layer));
  }
  const MoeSpec& moe = spec_->moe;
  const bool mixture = spec_->layer[static_cast<std::size_t>(layer)].moe;
  if (expert >= (mixture ? moe.experts : 0)) {
    fail(ErrorKind::kUsage, "model",
         "expected an expert below " + std::to_string(mixture ? moe.experts : 0) + " of layer " +
             std::to_string(layer) + ", found " + std::to_string(expert));
  }
  if (mixture && expert < 0) {
    fail(ErrorKind::kMismatch, "model",
         "expected a layer with one MLP, found " + std::to_string(moe.experts) +
             " experts in layer " + std::to_string(layer));
  }
  if (!mixture && !spec_->layer[static_cast<std::size_t>(layer)].mlp) {
    fail(ErrorKind::kMismatch, "model",
         "expected a layer with an MLP, found a state space alone in layer " +
             std::to_string(layer) + " (model_type " + spec_->model_type + ")",
         "facts are edited in the down projection of an MLP");
  }
  if (!mixture) {
    const std::string name = layer_name(spec_->names.mlp.down, layer) + ".weight";
    return {name, weight(name), spec_->layout};
  }
  const std::string name = layer_name(spec_->names.expert.down, layer, expert);
  if (moe.layout == ExpertLayout::kStacked)
    return {name, weight(name).select(0, expert), moe.matrix, expert};
  return {name + ".weight", weight(name + ".weight"), moe.matrix};
}

const at::Tensor& Decoder::weight(std::string_view name) const {
  const auto at = weights_.find(std::string(name));
  if (at != weights_.end()) return at->second;
  std::vector<std::string_view> known;
  for (const auto& [each, tensor] : weights_) known.push_back(each);
  fail(ErrorKind::kMismatch, "model",
       "expected a tensor of the model, found '" + printable(name) + "'",
       did_you_mean(name, known));
}

at::Tensor Decoder::matrix(std::string_view name) const {
  const at::Tensor& stored = weight(name);
  const auto at = packed_.find(std::string(name));
  if (at == packed_.end()) return stored.to(at::kCPU, at::kFloat);
  at::Tensor out = at::empty(stored.sizes(), at::kFloat);
  const auto width = static_cast<std::size_t>(out.size(1));
  for (std::int64_t row = 0; row < out.size(0); ++row)
    at->second->decode(row, 0, {out.mutable_data_ptr<float>() + row * out.size(1), width});
  return out;
}

std::uint64_t Decoder::weight_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : weights_) bytes += packed_.contains(name) ? 0 : tensor.nbytes();
  for (const auto& [name, matrix] : packed_) bytes += matrix->bytes();
  return bytes;
}

std::vector<std::string> Decoder::weight_names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : weights_) names.push_back(name);
  std::ranges::sort(names);
  return names;
}

Decoder Decoder::with_weight(std::string_view name, at::Tensor value) const {
  const at::Tensor& old = weight(name);
  if (value.sizes() != old.sizes() || value.scalar_type() != old.scalar_type() ||
      value.device() != old.device()) {
    fail(ErrorKind::kInternal, "model",
         "a replaced weight must keep shape, dtype and device: " + std::string(name));
  }
  Decoder out = *this;
  out.weights_[std::string(name)] = value.contiguous();
  out.bind();
  return out;
}

Decoder Decoder::with_masked_ids(std::vector<IdRange> masked) const {
  auto spec = std::make_shared<DecoderSpec>(*spec_);
  spec->masked_ids = std::move(masked);
  Decoder out = *this;
  out.spec_ = std::move(spec);
  out.bind();
  return out;
}

Decoder Decoder::with_low_rank(LoraParts parts) const {
  Decoder out = *this;
  out.low_rank_ = std::move(parts);
  std::size_t fitting = 0;
  for (const LinearModule& module : linear_modules(*spec_)) {
    const auto at = out.low_rank_.find(module.name);
    if (at == out.low_rank_.end()) continue;
    const LowRank& part = *at->second;
    fitting += part.a.size(1) == module.d_in && part.b.size(0) == module.d_out ? 1U : 0U;
  }
  if (fitting != out.low_rank_.size())
    fail(ErrorKind::kInternal, "model", "a low-rank part fits no linear layer");
  out.bind();
  return out;
}

}  // namespace lancet
