#include "formats/gguf_model.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "formats/config/family_rules.h"
#include "formats/tensor_stages.h"

namespace lancet {
namespace {

constexpr std::int64_t kQ8Block = 32;

[[noreturn]] void mismatch(const std::string& message) {
  fail(ErrorKind::kMismatch, "gguf", message, "write a Hugging Face directory instead");
}

Json read_config(const std::map<std::string, std::string>& side_files) {
  const auto found = side_files.find("config.json");
  if (found == side_files.end()) {
    fail(ErrorKind::kInput, "gguf", "expected a model with config.json, found weights alone",
         "name the Hugging Face directory instead of the file in it");
  }
  return parse_json(found->second, "config.json");
}

/// Computed from the configuration, never stored: frequencies, and masks of older versions.
bool is_derived(std::string_view hf_name) {
  constexpr std::array<std::string_view, 6> kEnds = {
      ".rotary_emb.inv_freq",   ".attn.bias",
      ".attn.masked_bias",      ".attention.bias",
      ".attention.masked_bias", ".self_attention.masked_bias"};
  return std::ranges::any_of(kEnds, [&](std::string_view end) { return hf_name.ends_with(end); });
}

DType stored_dtype(const OutputTensor& tensor, const NameRule& rule, bool quantize_q8_0) {
  if (!dtype_info(tensor.dtype).floating) return tensor.dtype;
  // Wide in llama.cpp, too: vectors, routers, positions, what a state space keeps apart.
  constexpr std::array<std::string_view, 5> kWide = {"ffn_gate_inp", "position_embd", "ssm_conv1d",
                                                     "ssm_a", ".bias"};
  if (tensor.shape.size() < 2 ||
      std::ranges::any_of(kWide, [&](std::string_view end) { return rule.gguf.ends_with(end); }))
    return DType::kF32;
  if (quantize_q8_0 && tensor.shape.back() % kQ8Block == 0) return DType::kQ8_0;
  const bool known =
      tensor.dtype == DType::kF32 || tensor.dtype == DType::kF16 || tensor.dtype == DType::kBF16;
  return known ? tensor.dtype : DType::kF32;
}

void check_rows(const OutputTensor& tensor, std::int64_t heads, std::int64_t head_dim) {
  if (!tensor.shape.empty() && tensor.shape[0] == heads * head_dim) return;
  fail(ErrorKind::kMismatch, "gguf",
       fmt::format("tensor '{}': expected {} rows for {} heads of {}, found {}",
                   printable(tensor.name), heads * head_dim, heads, head_dim,
                   tensor.shape.empty() ? 0 : tensor.shape[0]));
}

/// Rows as GGUF has them; of what two tensors make up the first or, `second`, the other one.
OutputTensor in_gguf_order(OutputTensor tensor, RowOrder order, const DecoderSizes& sizes,
                           bool second) {
  const std::int64_t dim = sizes.head_dim, kv = sizes.kv_heads, group = sizes.heads / kv;
  switch (order) {
    case RowOrder::kSame:
      return tensor;
    case RowOrder::kQueryHeads:
    case RowOrder::kKeyHeads:
      check_rows(tensor, order == RowOrder::kQueryHeads ? sizes.heads : kv, dim);
      return permute_rows_to_gguf(std::move(tensor), dim);
    case RowOrder::kGroupedQkv:
      check_rows(tensor, sizes.heads + 2 * kv, dim);
      return reorder_rows(std::move(tensor), [dim, group, kv](std::int64_t row) {
        return gguf_qkv_row(row, dim, group, kv);
      });
    case RowOrder::kTransposed:
      return tensor.shape.size() == 2 ? transpose_matrix(std::move(tensor)) : std::move(tensor);
    case RowOrder::kExperts:
      return turn_experts(std::move(tensor), 1, 0);
    case RowOrder::kGateUp:
      return turn_experts(std::move(tensor), 2, second ? 1 : 0);
    case RowOrder::kLatentKv:
      return split_latent(std::move(tensor), sizes.heads, dim - sizes.rotated, second);
  }
  return tensor;
}

/// Under its GGUF name.
OutputTensor make_tensor(OutputTensor tensor, const NameRule& rule, const DecoderSizes& sizes,
                         bool quantize_q8_0, bool second = false) {
  tensor = in_gguf_order(std::move(tensor), rule.rows, sizes, second);
  if (rule.shape == HfShape::kRow && tensor.shape.size() == 2 && tensor.shape[0] == 1)
    tensor.shape.erase(tensor.shape.begin());
  if (rule.shape == HfShape::kChannels && tensor.shape.size() == 3 && tensor.shape[1] == 1)
    tensor.shape.erase(tensor.shape.begin() + 1);
  const DType dtype = stored_dtype(tensor, rule, quantize_q8_0);
  tensor = convert_values(std::move(tensor), dtype);
  if (rule.values == ValueMap::kSame) return tensor;
  return change_values(std::move(tensor),
                       [map = rule.values](float value) { return gguf_value(map, value); });
}

/// Tensors of one name, one for each expert.
using Experts = std::map<std::string, std::map<std::int64_t, OutputTensor>>;

OutputTensor stacked(const std::string& name, std::map<std::int64_t, OutputTensor>& experts) {
  std::vector<OutputTensor> parts;
  for (auto& [expert, tensor] : experts) {
    if (expert != std::ssize(parts))
      mismatch(fmt::format("tensor '{}': expected expert {}, found none", name, parts.size()));
    parts.push_back(std::move(tensor));
  }
  return stack_tensors(std::move(parts));
}

/// Names of models that were stored without their prefix.
std::string whole_name(const std::string& name, const NameFamily& family) {
  const bool old = family.gguf_architecture == "gpt2" || family.gguf_architecture == "bloom";
  const bool bare = old && !name.starts_with("transformer.") && !name.starts_with("lm_head.");
  return bare ? "transformer." + name : name;
}

/// DeepSeek's layer behind the last one (multi-token prediction) takes no part.
bool is_behind(const std::string& name, const Json& config, const NameFamily& family) {
  if (!family.latent) return false;
  const std::int64_t layers = json_int(config, "num_hidden_layers", "config.json");
  return name.starts_with(fmt::format("model.layers.{}.", layers));
}

/// token_embd, then blocks by number, then the rest.
std::tuple<int, std::uint64_t, std::string_view> file_order(const OutputTensor& tensor) {
  const std::string_view name = tensor.name;
  if (!name.starts_with("blk.")) return {name.starts_with("token_embd") ? 0 : 2, 0, name};
  std::uint64_t layer = 0;
  std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return {1, layer, name};
}

/// llama.cpp's general.file_type: the dtype of most matrix elements.
std::uint32_t main_file_type(const std::vector<OutputTensor>& tensors) {
  constexpr std::array<std::pair<DType, std::uint32_t>, 4> kTypes = {
      {{DType::kF32, 0U}, {DType::kF16, 1U}, {DType::kQ8_0, 7U}, {DType::kBF16, 32U}}};
  std::array<double, kTypes.size()> elements{};
  for (const OutputTensor& tensor : tensors) {
    if (tensor.shape.size() < 2) continue;
    double count = 1;
    for (const std::int64_t dim : tensor.shape) count *= static_cast<double>(dim);
    for (std::size_t i = 0; i < kTypes.size(); ++i) {
      if (kTypes[i].first == tensor.dtype) elements[i] += count;
    }
  }
  return kTypes[static_cast<std::size_t>(std::ranges::max_element(elements) - elements.begin())]
      .second;
}

OutputTensor vector_tensor(std::string name, std::vector<float> values) {
  const auto count = static_cast<std::int64_t>(values.size());
  return {std::move(name),
          DType::kF32,
          {count},
          [values = std::move(values)](const std::function<void(Bytes)>& emit) {
            emit(std::as_bytes(std::span(values)));
          }};
}

/// What GGUF says of a rotation by tensors.
void add_rope_tensors(const DecoderSizes& sizes, std::vector<OutputTensor>& out) {
  const RopeSettings& rope = sizes.rope;
  if (rope.type == "llama3")
    out.push_back(vector_tensor("rope_freqs.weight", llama3_divisors(rope, sizes.head_dim)));
  if (rope.type != "longrope") return;
  out.push_back(vector_tensor("rope_factors_long.weight", rope.long_factors));
  out.push_back(vector_tensor("rope_factors_short.weight", rope.short_factors));
}

}  // namespace

GgufModel make_gguf_model(std::vector<OutputTensor> tensors,
                          const std::map<std::string, std::string>& side_files,
                          bool quantize_q8_0) {
  const Json config = read_config(side_files);
  const std::string type = json_string(config, "model_type", "config.json");
  const NameFamily* family = family_of_model_type(type);
  if (family == nullptr) {
    mismatch(fmt::format("expected a model_type with a GGUF form, found '{}'", printable(type)));
  }
  const Json told = config_for_gguf(config, *family);
  const DecoderSizes sizes = decoder_sizes(told, *family);
  GgufModel model;
  Experts experts;
  std::int64_t vocab = 0;
  std::size_t behind = 0;
  for (OutputTensor& tensor : tensors) {
    if (is_derived(tensor.name)) continue;
    if (is_behind(tensor.name, config, *family)) {
      ++behind;
      continue;
    }
    const auto name = hf_to_gguf_name(*family, whole_name(tensor.name, *family));
    if (!name) {
      mismatch(fmt::format("tensor '{}' has no place in the GGUF architecture {}",
                           printable(tensor.name), family->gguf_architecture));
    }
    if (sizes.tied && name->name == "output.weight") continue;
    if (name->name == "token_embd.weight" && !tensor.shape.empty()) vocab = tensor.shape[0];
    if (!name->second.empty()) {
      model.tensors.push_back(make_tensor(tensor, *name->rule, sizes, quantize_q8_0, true));
      model.tensors.back().name = name->second;
    }
    tensor = make_tensor(std::move(tensor), *name->rule, sizes, quantize_q8_0);
    tensor.name = name->name;
    if (name->expert < 0) {
      model.tensors.push_back(std::move(tensor));
    } else {
      experts[name->name].insert_or_assign(name->expert, std::move(tensor));
    }
  }
  if (behind > 0) {
    log::warn(fmt::format(
        "gguf: left out the layer behind the last one (multi-token prediction): {} tensors",
        behind));
  }
  for (auto& [name, parts] : experts) model.tensors.push_back(stacked(name, parts));
  if (vocab == 0) mismatch("expected a tensor of embeddings, found none");
  add_rope_tensors(sizes, model.tensors);
  std::ranges::sort(model.tensors, {}, file_order);
  model.metadata = metadata_from_config(told, *family, main_file_type(model.tensors));
  append_tokenizer(side_files, config, vocab, model.metadata);
  return model;
}

}  // namespace lancet
