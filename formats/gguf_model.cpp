#include "formats/gguf_model.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <tuple>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
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

/// Computed from the configuration, never stored.
bool is_derived(std::string_view hf_name) { return hf_name.ends_with(".rotary_emb.inv_freq"); }

DType stored_dtype(const OutputTensor& tensor, bool quantize_q8_0) {
  if (!dtype_info(tensor.dtype).floating) return tensor.dtype;
  if (tensor.shape.size() < 2) return DType::kF32;
  if (quantize_q8_0 && tensor.shape.back() % kQ8Block == 0) return DType::kQ8_0;
  const bool known =
      tensor.dtype == DType::kF32 || tensor.dtype == DType::kF16 || tensor.dtype == DType::kBF16;
  return known ? tensor.dtype : DType::kF32;
}

OutputTensor make_tensor(OutputTensor tensor, const NameFamily& family, const DecoderSizes& sizes,
                         bool quantize_q8_0) {
  const auto name = hf_to_gguf_name(family, tensor.name);
  if (!name) {
    mismatch(fmt::format("tensor '{}' has no place in the GGUF architecture {}",
                         printable(tensor.name), family.gguf_architecture));
  }
  if (name->rows != RowOrder::kSame) {
    const std::int64_t heads = name->rows == RowOrder::kQueryHeads ? sizes.heads : sizes.kv_heads;
    if (tensor.shape.empty() || tensor.shape[0] != heads * sizes.head_dim) {
      fail(ErrorKind::kMismatch, "gguf",
           fmt::format("tensor '{}': expected {} rows for {} heads of {}, found {}",
                       printable(tensor.name), heads * sizes.head_dim, heads, sizes.head_dim,
                       tensor.shape.empty() ? 0 : tensor.shape[0]));
    }
    tensor = permute_rows_to_gguf(std::move(tensor), sizes.head_dim);
  }
  tensor.name = name->name;
  const DType dtype = stored_dtype(tensor, quantize_q8_0);
  return convert_values(std::move(tensor), dtype);
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

OutputTensor rope_tensor(const DecoderSizes& sizes) {
  std::vector<float> values = llama3_divisors(sizes.rope, sizes.head_dim);
  const auto count = static_cast<std::int64_t>(values.size());
  return {"rope_freqs.weight",
          DType::kF32,
          {count},
          [values = std::move(values)](const std::function<void(Bytes)>& emit) {
            emit(std::as_bytes(std::span(values)));
          }};
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
  const DecoderSizes sizes = decoder_sizes(config);
  GgufModel model;
  std::int64_t vocab = 0;
  for (OutputTensor& tensor : tensors) {
    if (is_derived(tensor.name) || (sizes.tied && tensor.name == "lm_head.weight")) continue;
    model.tensors.push_back(make_tensor(std::move(tensor), *family, sizes, quantize_q8_0));
    const OutputTensor& made = model.tensors.back();
    if (made.name == "token_embd.weight" && !made.shape.empty()) vocab = made.shape[0];
  }
  if (vocab == 0) mismatch("expected a tensor 'model.embed_tokens.weight', found none");
  if (sizes.rope.type == "llama3") model.tensors.push_back(rope_tensor(sizes));
  std::ranges::sort(model.tensors, {}, file_order);
  model.metadata = metadata_from_config(config, *family, main_file_type(model.tensors));
  append_tokenizer(side_files, config, vocab, model.metadata);
  return model;
}

}  // namespace lancet
