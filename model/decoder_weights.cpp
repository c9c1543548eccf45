// A Decoder's weights by name, and the matrix that editors rewrite.

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/text.h"
#include "model/decoder.h"
#include "model/intraop.h"
#include "model/lora.h"
#include "model/names.h"

namespace lancet {
namespace {

/// All values of a packed matrix, float32 of `shape`.
at::Tensor read_all(const PackedMatrix& matrix, at::IntArrayRef shape) {
  constexpr std::int64_t kGrain = 1 << 18;  // elements that one thread decodes at once
  at::Tensor out = at::empty(shape, at::kFloat);
  const std::int64_t width = matrix.columns();
  auto* to = out.mutable_data_ptr<float>();
  intraop_chunks(matrix.rows(), kGrain / std::max<std::int64_t>(1, width) + 1,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t row = begin; row < end; ++row)
                     matrix.decode(row, 0, {to + row * width, static_cast<std::size_t>(width)});
                 });
  matrix.release();
  return out;
}

}  // namespace

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
    return matrix_ref(name, spec_->layout);
  }
  const std::string name = layer_name(spec_->names.expert.down, layer, expert);
  if (moe.layout != ExpertLayout::kStacked) return matrix_ref(name + ".weight", moe.matrix);
  MatrixRef out = matrix_ref(name, moe.matrix);
  out.expert = expert;
  return out;
}

/// Of the last two dimensions.
MatrixRef Decoder::matrix_ref(std::string name, MatrixLayout layout) const {
  const at::Tensor& own = stored(name);
  const bool out_in = layout == MatrixLayout::kOutIn;
  return {std::move(name), layout, own.size(out_in ? -2 : -1), own.size(out_in ? -1 : -2)};
}

const at::Tensor& Decoder::stored(std::string_view name) const {
  const auto at = weights_.find(std::string(name));
  if (at != weights_.end()) return at->second;
  std::vector<std::string_view> known;
  for (const auto& [each, tensor] : weights_) known.push_back(each);
  fail(ErrorKind::kMismatch, "model",
       "expected a tensor of the model, found '" + printable(name) + "'",
       did_you_mean(name, known));
}

at::Tensor Decoder::shown(const at::Tensor& stored) const {
  return dtype_ == at::kFloat ? stored.to(at::kFloat) : stored;
}

at::Tensor Decoder::weight(std::string_view name) const {
  const at::Tensor& own = stored(name);
  const auto packed = packed_.find(std::string(name));
  const bool in_file = packed != packed_.end() && packed->second->in_file();
  return in_file ? read_all(*packed->second, own.sizes()).to(dtype_) : shown(own);
}

at::Tensor Decoder::weight(const MatrixRef& matrix) const {
  if (matrix.expert < 0) return weight(matrix.name);
  const at::Tensor one = stored(matrix.name).select(0, matrix.expert);
  const auto packed = packed_.find(matrix.name);
  if (packed == packed_.end()) return shown(one);
  const PackedMatrix part = packed->second->part(matrix.expert * one.size(0), one.size(0));
  return read_all(part, one.sizes()).to(dtype_);
}

at::Tensor Decoder::matrix(std::string_view name) const {
  const at::Tensor& own = stored(name);
  const auto at = packed_.find(std::string(name));
  return at == packed_.end() ? own.to(at::kCPU, at::kFloat) : read_all(*at->second, own.sizes());
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

Decoder Decoder::with_weight(std::string_view name, const at::Tensor& value) const {
  const at::Tensor& old = stored(name);
  const auto packed = packed_.find(std::string(name));
  const bool in_file = packed != packed_.end() && packed->second->in_file();
  const at::ScalarType dtype = in_file || dtype_ == at::kFloat ? dtype_ : old.scalar_type();
  if (value.sizes() != old.sizes() || value.scalar_type() != dtype ||
      value.device() != (in_file ? device_ : old.device())) {
    fail(ErrorKind::kInternal, "model",
         "a replaced weight must keep shape, dtype and device: " + std::string(name));
  }
  Decoder out = *this;
  out.weights_[std::string(name)] = value.contiguous();
  if (in_file) out.packed_.erase(std::string(name));
  out.bind();
  return out;
}

Decoder Decoder::with_change(const MatrixRef& matrix, const at::Tensor& change) const {
  if (matrix.expert >= 0) fail(ErrorKind::kInternal, "model", "a stacked tensor has no change");
  const at::Tensor before = weight(matrix.name);
  const at::Tensor step = change.to(before.options());
  return with_weight(matrix.name,
                     before + (matrix.layout == MatrixLayout::kOutIn ? step : step.t()));
}

Decoder Decoder::with_masked_ids(std::vector<IdRange> masked) const {
  auto spec = std::make_shared<DecoderSpec>(*spec_);
  spec->masked_ids = std::move(masked);
  Decoder out = *this;
  out.spec_ = std::move(spec);
  out.bind();
  return out;
}

Decoder Decoder::for_steps() const {
  Decoder out = *this;
  if (rows_ != RowForm::kTerms) return out;
  out.rows_ = RowForm::kPlain;
  out.bind();
  return out;
}

Decoder Decoder::with_low_rank(LoraParts parts) const {
  Decoder out = *this;
  out.low_rank_ = std::move(parts);
  std::size_t fitting = 0;
  for (const LinearModule& module : adaptable_modules(*spec_)) {
    const auto at = out.low_rank_.find(module.name);
    if (at == out.low_rank_.end()) continue;
    const LowRank& part = *at->second;
    fitting += part.a.size(1) == module.d_in && part.b.size(0) == module.d_out ? 1U : 0U;
  }
  if (fitting != out.low_rank_.size())
    fail(ErrorKind::kInternal, "model", "a low-rank part fits no layer");
  out.bind();
  return out;
}

}  // namespace lancet
