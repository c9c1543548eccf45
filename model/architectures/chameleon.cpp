// Chameleon. Chameleon Team 2024, arXiv:2405.09818. Llama's block with a layer norm of q and k that
// has a weight and a bias for each head; swin_norm (34B): norms behind attention and MLP instead of
// before them. One vocabulary for text and images: the tokens IMGIMG... of vocabulary_map stand for
// codes of an image tokenizer (model.vqmodel: model/image/) and are never said in a text.

#include <algorithm>
#include <utility>
#include <vector>

#include "model/llama_shape.h"

namespace lancet {
namespace {

/// Ids of image tokens as ranges.
std::vector<IdRange> read_image_ids(const Json& config, std::int64_t vocab) {
  const auto map = config.find("vocabulary_map");
  if (map == config.end() || !map->is_object())
    fail_config("vocabulary_map", map == config.end() ? Json() : *map, "an object of token ids");
  std::vector<std::int64_t> ids;
  for (const auto& [token, id] : map->items()) {
    if (!token.starts_with("IMGIMG")) continue;
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() >= vocab)
      fail_config("vocabulary_map", id, "ids below vocab_size = " + std::to_string(vocab));
    ids.push_back(id.get<std::int64_t>());
  }
  std::ranges::sort(ids);
  std::vector<IdRange> ranges;
  for (const std::int64_t id : ids) {
    if (ranges.empty() || id > ranges.back().second) {
      ranges.emplace_back(id, id + 1);
    } else {
      ranges.back().second = id + 1;
    }
  }
  return ranges;
}

DecoderSpec describe(const Json& config) {
  DecoderSpec spec =
      read_llama_shape(config, "chameleon", {.max_positions = 4096, .norm_eps = 1e-5});
  spec.attention.qkv_bias = spec.attention.out_bias = read_flag(config, "attention_bias", false);
  spec.mlp.bias = read_flag(config, "mlp_bias", false);
  spec.attention.qk_norm = QkNormWidth::kEachHead;
  spec.attention.qk_norm_spec = {.kind = NormKind::kLayer, .eps = 1e-5};
  NameSpec& names = spec.names;
  names.q_norm = "model.layers.{}.self_attn.q_norm";
  names.k_norm = "model.layers.{}.self_attn.k_norm";
  if (read_flag(config, "swin_norm", false)) {
    names.attn_post_norm = std::exchange(names.attn_norm, "");
    names.mlp_post_norm = std::exchange(names.mlp_norm, "");
  }
  spec.image_ids = spec.masked_ids = read_image_ids(config, spec.vocab);
  spec.ignored = {"model.vqmodel.{}"};
  return spec;
}

}  // namespace

extern constinit const Architecture architecture_chameleon{
    .name = "chameleon",
    .title = "Chameleon 7B, 34B",
    .paper = "arXiv:2405.09818",
    .describe = describe,
};

}  // namespace lancet
