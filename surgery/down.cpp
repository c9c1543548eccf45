#include "surgery/down.h"

#include <string>

#include <fmt/format.h>

#include "core/error.h"

namespace lancet {
namespace {

constexpr std::int64_t kWidest = 32768;  ///< of keys with second moments: 8 GiB

bool has_experts(const DecoderSpec& spec, std::int64_t layer) {
  return layer >= 0 && layer < spec.layers && spec.layer[static_cast<std::size_t>(layer)].moe;
}

}  // namespace

std::vector<DownPart> down_parts(const Decoder& model, std::int64_t layer) {
  if (!has_experts(model.spec(), layer)) {
    MatrixRef down = model.mlp_down(layer);
    const std::int64_t width = down.d_in;
    return {{std::move(down), 0, width}};
  }
  std::vector<DownPart> out;
  for (std::int64_t expert = 0; expert < model.spec().moe.experts; ++expert) {
    MatrixRef down = model.mlp_down(layer, expert);
    if (down.expert >= 0)
      fail(ErrorKind::kMismatch, "edit",
           "expected experts that are tensors of their own, found all of layer " +
               std::to_string(layer) + " in '" + down.name + "'",
           "save the model with a tensor for each expert");
    const std::int64_t width = down.d_in;
    out.push_back({std::move(down), expert * width, width});
  }
  return out;
}

std::int64_t key_width(const DecoderSpec& spec, std::int64_t layer) {
  return has_experts(spec, layer) ? spec.moe.experts * spec.moe.d_ff : spec.mlp.d_ff;
}

std::int64_t key_width(const Decoder& model, std::int64_t layer) {
  return key_width(model.spec(), layer);
}

void check_key_width(const DecoderSpec& spec, std::int64_t layer) {
  const std::int64_t width = key_width(spec, layer);
  if (width <= kWidest) return;
  fail(ErrorKind::kResource, "covariance",
       fmt::format("expected keys of at most {} numbers, found {} in layer {}", kWidest, width,
                   layer),
       "edit --covariance none does without");
}

Place key_place(const Decoder& model, std::int64_t layer) {
  return has_experts(model.spec(), layer) ? Place::kExpertInput : Place::kMlpKey;
}

at::Tensor keys_at(const Decoder& model, std::int64_t layer, const at::Tensor& rows) {
  return has_experts(model.spec(), layer) ? model.expert_keys(layer, rows) : rows;
}

}  // namespace lancet
