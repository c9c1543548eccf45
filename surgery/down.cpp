#include "surgery/down.h"

#include <string>

#include "core/error.h"

namespace lancet {
namespace {

bool has_experts(const Decoder& model, std::int64_t layer) {
  return layer >= 0 && layer < model.spec().layers &&
         model.spec().layer[static_cast<std::size_t>(layer)].moe;
}

std::int64_t columns(const MatrixRef& matrix) {
  return matrix.weight.size(matrix.layout == MatrixLayout::kOutIn ? 1 : 0);
}

}  // namespace

std::vector<DownPart> down_parts(const Decoder& model, std::int64_t layer) {
  if (!has_experts(model, layer)) {
    MatrixRef down = model.mlp_down(layer);
    const std::int64_t width = columns(down);
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
    const std::int64_t width = columns(down);
    out.push_back({std::move(down), expert * width, width});
  }
  return out;
}

std::int64_t key_width(const Decoder& model, std::int64_t layer) {
  if (!has_experts(model, layer)) return columns(model.mlp_down(layer));
  return model.spec().moe.experts * columns(model.mlp_down(layer, 0));
}

Place key_place(const Decoder& model, std::int64_t layer) {
  return has_experts(model, layer) ? Place::kExpertInput : Place::kMlpKey;
}

at::Tensor keys_at(const Decoder& model, std::int64_t layer, const at::Tensor& rows) {
  return has_experts(model, layer) ? model.expert_keys(layer, rows) : rows;
}

}  // namespace lancet
